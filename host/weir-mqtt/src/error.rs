//! What a client may do wrong, and what each is called in the counters.

use weir_core::topic::TopicError;

/// A violation of the protocol, or something of it that is not supported. The connection is closed
/// [MQTT-4.8.0-1]; nothing of a packet is quoted, since it may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("a client must not send a packet of type {0}")]
    PacketType(u8),
    #[error("packet type {kind} must not have the flags {flags:#06b}")]
    Flags { kind: u8, flags: u8 },
    #[error("the remaining length takes more bytes than it may")]
    RemainingLength,
    #[error("a packet of {size} bytes exceeds the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("a {0} packet is malformed")]
    Malformed(&'static str),
    #[error("text is not UTF-8 or contains the null character")]
    Text,
    #[error("a PUBLISH has a bad topic: {0}")]
    Topic(#[source] TopicError),
    #[error("a request has a bad topic filter: {0}")]
    Filter(#[source] TopicError),
    #[error("a packet identifier is 0")]
    PacketIdZero,
    #[error("a request names no topic filter")]
    NoFilters,
    #[error("a request names more than {limit} topic filters")]
    TooManyFilters { limit: usize },
    #[error("a QoS 0 PUBLISH has the DUP flag")]
    DupWithoutQos,
    #[error("a quality of service is above 2")]
    Qos,
    #[error("a SUBSCRIBE asks for a quality of service above 2")]
    RequestedQos,
    #[error("a SUBSCRIBE has a retain handling of 3")]
    RetainHandling,
    #[error("a shared subscription must not have the option no local")]
    SharedNoLocal,
    #[error("a {packet} packet must not have the property {identifier:#04x}")]
    Property { packet: &'static str, identifier: u8 },
    #[error("the property {identifier:#04x} comes twice")]
    PropertyRepeated { identifier: u8 },
    #[error("the property {identifier:#04x} has a value that is not allowed")]
    PropertyValue { identifier: u8 },
    #[error("only a server may send the property {identifier:#04x} in such a packet")]
    ServerProperty { identifier: u8 },
    #[error("a {packet} packet must not have the reason code {code:#04x}")]
    ReasonCode { packet: &'static str, code: u8 },
    #[error("a PUBLISH has neither a topic nor a topic alias")]
    TopicMissing,
    #[error("a topic alias is 0, above the maximum, or stands for no topic")]
    TopicAlias,
    #[error("a payload that is said to be text is not UTF-8")]
    PayloadFormat,
    #[error("more messages are unacknowledged than the receive maximum allows")]
    ReceiveMaximum,
    #[error("the authentication method is not supported")]
    AuthenticationMethod,
    #[error("authentication data comes without a method")]
    AuthenticationData,
    #[error("AUTH was sent, but CONNECT named no authentication method")]
    Authentication,
    #[error("DISCONNECT asks to keep a session that CONNECT did not ask to keep")]
    SessionExpiry,
    #[error("the first packet is not CONNECT")]
    ConnectExpected,
    #[error("CONNECT was sent twice")]
    ConnectRepeated,
    #[error("the protocol name is not MQTT")]
    ProtocolName,
    #[error("protocol level {0} is not supported")]
    Version(u8),
    #[error("the client identifier is missing")]
    ClientId,
    #[error("no CONNECT came in time")]
    HandshakeTimeout,
    #[error("nothing was heard for one and a half keep-alive times")]
    KeepAlive,
}

impl ProtocolError {
    /// The label of the counter.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PacketType(_) => "packet_type",
            Self::Flags { .. } => "packet_flags",
            Self::RemainingLength | Self::Malformed(_) => "malformed_packet",
            Self::TooLarge { .. } => "packet_too_large",
            Self::Text => "malformed_text",
            Self::Topic(_) => "bad_topic",
            Self::Filter(_) => "bad_filter",
            Self::PacketIdZero => "packet_id_zero",
            Self::NoFilters => "no_filters",
            Self::TooManyFilters { .. } => "too_many_filters",
            Self::DupWithoutQos => "dup_without_qos",
            Self::Qos | Self::RequestedQos => "bad_qos",
            Self::RetainHandling | Self::SharedNoLocal => "subscribe_options",
            Self::Property { .. } => "misplaced_property",
            Self::PropertyRepeated { .. } => "repeated_property",
            Self::PropertyValue { .. } => "property_value",
            Self::ServerProperty { .. } => "server_property",
            Self::ReasonCode { .. } => "reason_code",
            Self::TopicMissing => "topic_missing",
            Self::TopicAlias => "topic_alias",
            Self::PayloadFormat => "payload_format",
            Self::ReceiveMaximum => "receive_maximum",
            Self::AuthenticationMethod => "authentication_method",
            Self::AuthenticationData | Self::Authentication => "authentication",
            Self::SessionExpiry => "session_expiry",
            Self::ConnectExpected => "connect_expected",
            Self::ConnectRepeated => "connect_repeated",
            Self::ProtocolName => "protocol_name",
            Self::Version(_) => "protocol_version",
            Self::ClientId => "client_id",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::KeepAlive => "keep_alive",
        }
    }
}

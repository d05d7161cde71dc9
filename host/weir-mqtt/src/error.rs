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
    #[error("the remaining length takes more than four bytes")]
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
    #[error("QoS 2 is not supported")]
    ExactlyOnce,
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
            Self::Qos => "bad_qos",
            Self::ExactlyOnce => "qos2_unsupported",
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

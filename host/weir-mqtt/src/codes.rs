//! The one table from failures to codes: CONNACK return codes (MQTT 3.1.1 §3.2.2.3), SUBACK's only failure, and the
//! reason codes of MQTT 5 (§2.4), packet by packet, since not every packet may carry every code.

use weir_core::{ErrorKind, Qos};

use crate::ProtocolError;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Why, in MQTT 5. From 0x80 on it is a failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name = $code,)*
        }

        impl Reason {
            pub fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// Also: granted QoS 0, normal disconnection.
    Success = 0x00,
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    Reauthenticate = 0x19,
    Unspecified = 0x80,
    Malformed = 0x81,
    Protocol = 0x82,
    Implementation = 0x83,
    UnsupportedVersion = 0x84,
    ClientIdentifier = 0x85,
    BadCredentials = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8a,
    ServerShuttingDown = 0x8b,
    BadAuthenticationMethod = 0x8c,
    KeepAliveTimeout = 0x8d,
    SessionTakenOver = 0x8e,
    TopicFilterInvalid = 0x8f,
    TopicNameInvalid = 0x90,
    PacketIdInUse = 0x91,
    PacketIdNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    Administrative = 0x98,
    PayloadFormatInvalid = 0x99,
}

impl Reason {
    pub fn is_failure(self) -> bool {
        self as u8 >= 0x80
    }
}

pub const UNACCEPTABLE_VERSION: u8 = 1;
pub const IDENTIFIER_REJECTED: u8 = 2;
const UNAVAILABLE: u8 = 3;
const BAD_CREDENTIALS: u8 = 4;
const NOT_AUTHORIZED: u8 = 5;

/// The return code of a CONNACK of 3.1 or 3.1.1 for a CONNECT that was well-formed.
pub fn connack(kind: ErrorKind) -> u8 {
    match kind {
        // Of a well-formed CONNECT only the identifier is left to be wrong.
        ErrorKind::Invalid | ErrorKind::Conflict => IDENTIFIER_REJECTED,
        ErrorKind::Unauthenticated => BAD_CREDENTIALS,
        ErrorKind::Forbidden | ErrorKind::NotFound => NOT_AUTHORIZED,
        ErrorKind::TooLarge | ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Internal => UNAVAILABLE,
    }
}

/// The return code for a bad CONNECT, when 3.1.1 has one: [MQTT-3.1.2-2], [MQTT-3.1.3-8]. Without one the connection is
/// closed without a word.
pub fn connack_of_violation(error: ProtocolError) -> Option<u8> {
    match error {
        ProtocolError::Version(_) => Some(UNACCEPTABLE_VERSION),
        ProtocolError::ClientId => Some(IDENTIFIER_REJECTED),
        _ => None,
    }
}

/// A byte of SUBACK. Before MQTT 5 a refusal has no reason [MQTT-3.9.3-2].
pub fn suback_before_5(granted: Result<Qos, Reason>) -> u8 {
    granted.map_or(0x80, |qos| qos as u8)
}

/// CONNACK (MQTT 5 §3.2.2.2).
pub fn connack_reason(kind: ErrorKind) -> Reason {
    match kind {
        // Of a well-formed CONNECT only the identifier is left to be wrong.
        ErrorKind::Invalid | ErrorKind::Conflict => Reason::ClientIdentifier,
        ErrorKind::Unauthenticated => Reason::BadCredentials,
        ErrorKind::Forbidden | ErrorKind::NotFound => Reason::NotAuthorized,
        ErrorKind::TooLarge => Reason::PacketTooLarge,
        ErrorKind::Throttled => Reason::QuotaExceeded,
        ErrorKind::Unavailable => Reason::ServerUnavailable,
        ErrorKind::Internal => Reason::Unspecified,
    }
}

/// PUBACK and PUBREC (MQTT 5 §3.4.2.1, §3.5.2.1): the message was not taken, the connection goes on.
pub fn publish_reason(kind: ErrorKind) -> Reason {
    match kind {
        ErrorKind::Invalid => Reason::TopicNameInvalid,
        ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::NotFound => Reason::NotAuthorized,
        ErrorKind::TooLarge | ErrorKind::Throttled => Reason::QuotaExceeded,
        ErrorKind::Conflict | ErrorKind::Unavailable => Reason::Implementation,
        ErrorKind::Internal => Reason::Unspecified,
    }
}

/// SUBACK (MQTT 5 §3.9.3).
pub fn subscribe_reason(kind: ErrorKind) -> Reason {
    match kind {
        ErrorKind::Invalid => Reason::TopicFilterInvalid,
        ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::NotFound => Reason::NotAuthorized,
        ErrorKind::TooLarge | ErrorKind::Throttled => Reason::QuotaExceeded,
        ErrorKind::Conflict | ErrorKind::Unavailable => Reason::Implementation,
        ErrorKind::Internal => Reason::Unspecified,
    }
}

/// DISCONNECT (MQTT 5 §3.14.2.1) where something failed and the connection cannot go on, as with a QoS 0 PUBLISH, which
/// has no other answer.
pub fn disconnect_reason(kind: ErrorKind) -> Reason {
    match kind {
        ErrorKind::Invalid => Reason::TopicNameInvalid,
        ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::NotFound => Reason::NotAuthorized,
        ErrorKind::TooLarge => Reason::PacketTooLarge,
        ErrorKind::Throttled => Reason::QuotaExceeded,
        ErrorKind::Conflict => Reason::Implementation,
        ErrorKind::Unavailable => Reason::ServerBusy,
        ErrorKind::Internal => Reason::Unspecified,
    }
}

/// The reason for a violation of the protocol, for the CONNACK of a bad CONNECT and for DISCONNECT otherwise
/// [MQTT5-4.13.1-1].
pub fn violation_reason(error: ProtocolError) -> Reason {
    use ProtocolError as E;
    match error {
        E::Flags { .. }
        | E::RemainingLength
        | E::Malformed(_)
        | E::Text
        | E::Topic(_)
        | E::Filter(_)
        | E::DupWithoutQos
        | E::Qos
        | E::Property { .. }
        | E::ReasonCode { .. } => Reason::Malformed,
        E::PacketType(_)
        | E::PacketIdZero
        | E::NoFilters
        | E::RequestedQos
        | E::RetainHandling
        | E::SharedNoLocal
        | E::PropertyRepeated { .. }
        | E::PropertyValue { .. }
        | E::ServerProperty { .. }
        | E::TopicMissing
        | E::AuthenticationData
        | E::Authentication
        | E::SessionExpiry
        | E::ConnectExpected
        | E::ConnectRepeated => Reason::Protocol,
        E::TooLarge { .. } => Reason::PacketTooLarge,
        E::TooManyFilters { .. } => Reason::QuotaExceeded,
        E::PayloadFormat => Reason::PayloadFormatInvalid,
        E::TopicAlias => Reason::TopicAliasInvalid,
        E::ReceiveMaximum => Reason::ReceiveMaximumExceeded,
        E::AuthenticationMethod => Reason::BadAuthenticationMethod,
        E::ProtocolName | E::Version(_) => Reason::UnsupportedVersion,
        E::ClientId => Reason::ClientIdentifier,
        E::KeepAlive => Reason::KeepAliveTimeout,
        // A stranger who said nothing is told nothing.
        E::HandshakeTimeout => Reason::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [ErrorKind; 9] = [
        ErrorKind::Invalid,
        ErrorKind::Unauthenticated,
        ErrorKind::Forbidden,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::TooLarge,
        ErrorKind::Throttled,
        ErrorKind::Unavailable,
        ErrorKind::Internal,
    ];

    /// A packet must not carry a reason that the specification does not list for it.
    #[test]
    fn every_reason_is_one_that_its_packet_may_carry() {
        let check = |packet: &str, reason_of: fn(ErrorKind) -> Reason, allowed: &[u8]| {
            for kind in KINDS {
                let code = reason_of(kind) as u8;
                assert!(allowed.contains(&code), "{packet}: {kind} is {code:#04x}");
            }
        };
        let connack = [
            0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b,
            0x9c, 0x9d, 0x9f,
        ];
        check("CONNACK", connack_reason, &connack); // [MQTT5-3.2.2-8]
        check("PUBACK", publish_reason, &[0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]); // [MQTT5-3.4.2-1]
        // [MQTT5-3.9.3-2]
        check("SUBACK", subscribe_reason, &[0x80, 0x83, 0x87, 0x8f, 0x91, 0x97]);
        let disconnect = [
            0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
        ];
        check("DISCONNECT", disconnect_reason, &disconnect); // [MQTT5-3.14.2-1]
    }

    #[test]
    fn violations_have_the_reason_that_the_specification_names() {
        use ProtocolError as E;
        for (error, reason) in [
            (E::Malformed("PUBLISH"), 0x81),                             // [MQTT5-4.13.1-1]
            (E::Property { packet: "PUBLISH", identifier: 0x11 }, 0x81), // §2.2.2.2
            (E::Qos, 0x81),                                              // [MQTT5-3.3.1-4]
            (E::Flags { kind: 8, flags: 0 }, 0x81),                      // [MQTT5-3.8.1-1]
            (E::PropertyRepeated { identifier: 0x11 }, 0x82),            // §3.1.2.11.2
            (E::PropertyValue { identifier: 0x21 }, 0x82),               // §3.1.2.11.3
            (E::ServerProperty { identifier: 0x0b }, 0x82),              // [MQTT5-3.3.4-6]
            (E::TopicMissing, 0x82),                                     // §3.3.2.1
            (E::SharedNoLocal, 0x82),                                    // [MQTT5-3.8.3-4]
            (E::ConnectRepeated, 0x82),                                  // [MQTT5-3.1.0-2]
            (E::NoFilters, 0x82),                                        // [MQTT5-3.8.3-2]
            (E::Version(6), 0x84),                                       // [MQTT5-3.1.2-2]
            (E::AuthenticationMethod, 0x8c),                             // [MQTT5-4.12.0-1]
            (E::KeepAlive, 0x8d),                                        // [MQTT5-3.1.2-22]
            (E::ReceiveMaximum, 0x93),                                   // §3.3.4
            (E::TopicAlias, 0x94),                                       // [MQTT5-3.3.2-8]
            (E::TooLarge { size: 2, limit: 1 }, 0x95),                   // §3.2.2.3.6
            (E::PayloadFormat, 0x99),                                    // §3.3.2.3.2
        ] {
            assert_eq!(violation_reason(error) as u8, reason, "{error}");
        }
        assert_eq!(connack_of_violation(E::Version(3)), Some(1)); // [MQTT-3.1.2-2]
        assert_eq!(connack_of_violation(E::ClientId), Some(2)); // [MQTT-3.1.3-8]
        assert_eq!(connack_of_violation(E::Malformed("CONNECT")), None);
    }

    #[test]
    fn codes_of_the_wire_are_told_apart() {
        for code in 0..=u8::MAX {
            assert!(Reason::from_u8(code).is_none_or(|reason| reason as u8 == code));
        }
        assert_eq!(Reason::from_u8(0x8e), Some(Reason::SessionTakenOver));
        assert_eq!(Reason::from_u8(1), None);
        assert!(Reason::Unspecified.is_failure() && !Reason::NoSubscriptionExisted.is_failure());
    }
}

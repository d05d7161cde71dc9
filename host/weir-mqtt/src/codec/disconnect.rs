//! DISCONNECT, AUTH and PINGREQ.
//!
//! rumqttd's decoder waits for ever for the rest of a DISCONNECT that has a reason code alone (`e0 01 04`, the normal
//! way to leave with one's will published), and knows no AUTH. So they are read here.

use weir_core::Protocol;

use super::{
    Frame,
    fields::Fields,
    properties::{Allowed, Properties, Property, id},
};
use crate::{ProtocolError, codes::Reason};

/// A client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect {
    /// `Success` before MQTT 5. Of others than `Success` the will is published [MQTT5-3.14.4-3].
    pub reason: Reason,
    /// Seconds that the session outlives the connection, if that changes now.
    pub session_expiry: Option<u32>,
}

/// A step of enhanced authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    pub reason: Reason,
    pub method: Option<String>,
}

/// [MQTT5-3.14.2-1], as far as a client may send them.
const DISCONNECT_REASONS: &[Reason] = &[
    Reason::Success,
    Reason::DisconnectWithWill,
    Reason::Unspecified,
    Reason::Malformed,
    Reason::Protocol,
    Reason::Implementation,
    Reason::TopicNameInvalid,
    Reason::ReceiveMaximumExceeded,
    Reason::TopicAliasInvalid,
    Reason::PacketTooLarge,
    Reason::MessageRateTooHigh,
    Reason::QuotaExceeded,
    Reason::Administrative,
    Reason::PayloadFormatInvalid,
];
const DISCONNECT_PROPERTIES: Allowed = Allowed {
    packet: "DISCONNECT",
    bits: 1 << id::SESSION_EXPIRY | 1 << id::REASON_STRING | 1 << id::USER | 1 << id::SERVER_REFERENCE,
};
/// [MQTT5-3.15.2-1], as far as a client may send them.
/// Success is a server's to say, but no malformed packet.
const AUTH_REASONS: &[Reason] = &[Reason::Success, Reason::ContinueAuthentication, Reason::Reauthenticate];
const AUTH_PROPERTIES: Allowed = Allowed {
    packet: "AUTH",
    bits: 1 << id::AUTHENTICATION_METHOD | 1 << id::AUTHENTICATION_DATA | 1 << id::REASON_STRING | 1 << id::USER,
};

pub(super) fn decode(frame: &Frame<'_>, protocol: Protocol) -> Result<Disconnect, ProtocolError> {
    let mut fields = Fields::new("DISCONNECT", frame.body);
    let mut disconnect = Disconnect { reason: Reason::Success, session_expiry: None };
    if protocol == Protocol::Mqtt5 {
        disconnect.reason = fields.reason(DISCONNECT_REASONS)?;
        if !fields.is_empty() {
            let mut properties = Properties::take(&mut fields, DISCONNECT_PROPERTIES)?;
            while let Some(property) = properties.next()? {
                if let Property::SessionExpiry(seconds) = property {
                    disconnect.session_expiry = Some(seconds);
                }
            }
        }
    }
    fields.end()?;
    Ok(disconnect)
}

pub(super) fn decode_auth(frame: &Frame<'_>) -> Result<Auth, ProtocolError> {
    let mut fields = Fields::new("AUTH", frame.body);
    let reason = fields.reason(AUTH_REASONS)?;
    let mut method = None;
    if !fields.is_empty() {
        let mut properties = Properties::take(&mut fields, AUTH_PROPERTIES)?;
        while let Some(property) = properties.next()? {
            if let Property::AuthenticationMethod(name) = property {
                method = Some(name.to_owned());
            }
        }
    }
    fields.end()?;
    Ok(Auth { reason, method })
}

/// PINGREQ has nothing after the fixed header.
pub(super) fn decode_pingreq(frame: &Frame<'_>) -> Result<(), ProtocolError> {
    Fields::new("PINGREQ", frame.body).end()
}

//! The one table from error kinds to CONNACK return codes (MQTT 3.1.1 §3.2.2.3).

use weir_core::ErrorKind;

pub(crate) const UNACCEPTABLE_VERSION: u8 = 1;
pub(crate) const IDENTIFIER_REJECTED: u8 = 2;
const UNAVAILABLE: u8 = 3;
const BAD_CREDENTIALS: u8 = 4;
const NOT_AUTHORIZED: u8 = 5;

/// The code of a SUBACK for a filter that was not granted [MQTT-3.9.3-2].
pub(crate) const SUBSCRIPTION_FAILED: u8 = 0x80;

/// MQTT 5's "unsupported protocol version".
pub(crate) const V5_UNSUPPORTED_VERSION: u8 = 0x84;

pub(crate) fn connack(kind: ErrorKind) -> u8 {
    match kind {
        // Of a well-formed CONNECT only the identifier is left to be wrong.
        ErrorKind::Invalid | ErrorKind::Conflict => IDENTIFIER_REJECTED,
        ErrorKind::Unauthenticated => BAD_CREDENTIALS,
        ErrorKind::Forbidden | ErrorKind::NotFound => NOT_AUTHORIZED,
        ErrorKind::TooLarge | ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Internal => UNAVAILABLE,
    }
}

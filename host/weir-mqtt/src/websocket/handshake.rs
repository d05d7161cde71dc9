//! The opening handshake: a request's head in, the answer out. RFC 6455 §4.2.

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, Method, Request, StatusCode, header};
use sha1::{Digest, Sha1};

use super::WebSocketOptions;

/// Subprotocols that are spoken, most wanted first [MQTT-6.0.0-3]. Clients of MQTT 3.1 ask for the second.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What an upgrade is answered with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Sec-WebSocket-Accept.
    pub(super) key: String,
    /// [MQTT-6.0.0-4].
    pub(super) subprotocol: &'static str,
}

/// Why a request is not upgraded. What it displays is the answer's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("this port speaks MQTT over WebSocket: connect with an MQTT client, by WebSocket and subprotocol mqtt")]
    NotAnUpgrade,
    #[error("the only version of WebSocket here is 13")]
    Version,
    #[error("Sec-WebSocket-Key must be there once, and be 16 bytes in base64")]
    Key,
    #[error("Sec-WebSocket-Protocol must name the subprotocol mqtt")]
    Subprotocol,
    #[error("pages of this origin may not connect: see the setting websocket.origins")]
    Origin,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NotAnUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key | Self::Subprotocol => StatusCode::BAD_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NotAnUpgrade => "not_an_upgrade",
            Self::Version => "version",
            Self::Key => "key",
            Self::Subprotocol => "subprotocol",
            Self::Origin => "origin",
        }
    }
}

/// Whether a request becomes a stream of MQTT. Its path has no meaning.
pub(super) fn judge<B>(request: &Request<B>, options: &WebSocketOptions) -> Result<Accepted, Refusal> {
    let headers = request.headers();
    let asks = |name, token: &str| tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token));
    if request.method() != Method::GET || !asks(header::CONNECTION, "upgrade") || !asks(header::UPGRADE, "websocket") {
        return Err(Refusal::NotAnUpgrade);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::Version);
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) => key,
        _ => return Err(Refusal::Key),
    };
    if let Some(origin) = headers.get(header::ORIGIN) {
        let listed = |allowed: &String| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes());
        if !options.origins.is_empty() && !options.origins.iter().any(listed) {
            return Err(Refusal::Origin);
        }
    }
    let offers = |wanted: &&str| tokens(headers, header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == *wanted);
    let subprotocol = SUBPROTOCOLS.into_iter().find(offers).ok_or(Refusal::Subprotocol)?;
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Ok(Accepted { key: STANDARD.encode(digest), subprotocol })
}

/// What a header that is a list names, over all its lines.
fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',').map(str::trim))
}

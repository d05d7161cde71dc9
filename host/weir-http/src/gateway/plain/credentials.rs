//! Who asks: what the connection has proved, or what the request shows.

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use weir_broker::Broker;
use weir_core::{
    DeviceId, ErrorKind, Principal,
    seams::{Credentials, PeerIdentity},
};

use crate::{
    error::ApiError,
    gateway::{Gate, Peer, Proved},
};

/// A device that has proved itself, and by what, to be asked again while an answer goes on.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) principal: Principal,
    credentials: Credentials,
}

/// Counts the request, and proves that it is the device of the path that asks.
pub(super) fn prove(
    gate: &Gate,
    peer: Peer,
    Proved(identity): Proved,
    headers: &HeaderMap,
    device: &DeviceId,
) -> Result<Proof, ApiError> {
    gate.admit(peer)?;
    let credentials = shown(identity, headers, device)?;
    let principal = gate.broker.authenticate(&credentials)?;
    match &principal {
        Principal::Device(proved) if proved == device => Ok(Proof { principal, credentials }),
        _ => Err(ApiError::new(ErrorKind::Forbidden, format!("these are not credentials of device {device}"))),
    }
}

impl Proof {
    /// Whether it would still do.
    pub(super) fn holds(&self, broker: &Broker) -> bool {
        broker.authenticate(&self.credentials).is_ok()
    }
}

fn shown(identity: PeerIdentity, headers: &HeaderMap, device: &DeviceId) -> Result<Credentials, ApiError> {
    let missing = || ApiError::new(ErrorKind::Unauthenticated, "show a token (Authorization: Bearer TOKEN)");
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return match identity {
            PeerIdentity::None => Err(missing()),
            proved => Ok(Credentials { client_id: device.joined(), peer: proved, ..Credentials::default() }),
        };
    };
    let (scheme, value) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(missing)?;
    let (username, password) = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => (device.to_string(), value.trim().as_bytes().to_vec()),
        "basic" => {
            let pair = STANDARD.decode(value.trim()).ok().and_then(|pair| String::from_utf8(pair).ok());
            let pair =
                pair.ok_or_else(|| ApiError::invalid("Authorization: it is not base64 of a name and a password"))?;
            let (username, password) = pair.split_once(':').ok_or_else(missing)?;
            (username.to_owned(), password.as_bytes().to_vec())
        }
        _ => return Err(missing()),
    };
    Ok(Credentials {
        client_id: device.joined(),
        username: Some(username),
        password: Some(password),
        ..Credentials::default()
    })
}

//! Who may use a route: `Authorization: Bearer NAME:SECRET`, proved by the broker.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use weir_core::{
    ErrorKind, KeyName, Principal,
    seams::{Credentials, PeerIdentity},
};

use crate::{error::ApiError, router::Hub};

/// Which keys a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone, without a key: what monitoring reads.
    Open,
    Administrator,
    /// Applications too. What they reach is decided by their grants.
    Application,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Principal);

/// Runs the route if the caller may use it. No byte of the body is read before.
pub(crate) async fn authorize(
    State((hub, access)): State<(Hub, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    if access == Access::Open {
        return next.run(request).await;
    }
    match authenticate(&hub, request.headers()).and_then(|principal| permit(access, principal)) {
        Ok(principal) => {
            request.extensions_mut().insert(Caller(principal));
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn authenticate(hub: &Hub, headers: &HeaderMap) -> Result<Principal, ApiError> {
    let refused = |message| ApiError::new(ErrorKind::Unauthenticated, message);
    let header = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| refused("a key is needed: send the header 'Authorization: Bearer NAME:SECRET'"))?;
    let (name, secret) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, key)| key.trim().split_once(':'))
        .ok_or_else(|| refused("the key is not readable: write 'Authorization: Bearer NAME:SECRET'"))?;
    let unknown = "the key's name or secret is wrong, or the key was deleted";
    // Devices prove themselves to the broker too, by names of another form. This door is for keys.
    name.parse::<KeyName>().map_err(|_| refused(unknown))?;
    let credentials = Credentials {
        client_id: String::new(),
        username: Some(name.to_owned()),
        password: Some(secret.as_bytes().to_vec()),
        peer: PeerIdentity::None,
    };
    hub.broker.authenticate(&credentials).map_err(|error| match ApiError::from(error) {
        ApiError { kind: ErrorKind::Unauthenticated, .. } => refused(unknown),
        error => error,
    })
}

fn permit(access: Access, principal: Principal) -> Result<Principal, ApiError> {
    match (&principal, access) {
        (Principal::Administrator(_), _) | (Principal::Application { .. }, Access::Application) => Ok(principal),
        _ => Err(ApiError::new(ErrorKind::Forbidden, format!("{principal} is not an administrator's key"))),
    }
}

//! What a device sends: the bytes, which it signed, and the document in them.

use axum::{body::Body, http::Request};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{Gate, Peer};
use crate::{
    error::ApiError,
    extract::{parse_json, read},
};

/// Reads a body if the peer may ask at all.
pub(super) async fn admitted(gate: &Gate, peer: Peer, request: Request<Body>) -> Result<Bytes, ApiError> {
    gate.admit(peer)?;
    read(request, gate.limits.body, gate.limits.body_time).await
}

/// Clients say all kinds of content types, and mean JSON.
pub(super) fn document<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    parse_json(body)
}

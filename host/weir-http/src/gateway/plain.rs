//! `/device/v1/{product}/{device}/…`: HTTP for devices and for plain scripts, in the manner of the REST API.
//!
//! | Request | Meaning |
//! |---|---|
//! | `POST …/messages/{topic…}` | publishes the body to `PRODUCT/DEVICE/topic…`; with `?qos=0` it is answered before it is durable |
//! | `POST …/messages` | publishes many: a JSON document a line (NDJSON) |
//! | `GET …/messages` | what is published to `?filter=`, by server-sent events or, without asking for those, as a list that is waited for |
//! | `GET`, `PUT`, `PATCH …/shadow` | the device's shadow; `?name=` for a named one |
//!
//! A device proves itself in each request: by the certificate of its connection, or by its token (`Authorization: Bearer`),
//! or by the user name and password that it has for MQTT, whichever of those it is (`Authorization: Basic`). It is online for
//! none of this. Nothing is said to browsers of other origins (CORS), so their pages cannot read an answer.

mod credentials;
mod follow;
mod messages;
mod shadow;

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequestParts, Path},
    http::request::Parts,
    routing::{get, post},
};
use serde::de::DeserializeOwned;

use super::Gate;
use crate::error::ApiError;

/// What all paths of this dialect begin with.
pub(super) const PREFIX: &str = "/device/v1/";

pub(super) fn routes() -> Router<Arc<Gate>> {
    const DEVICE: &str = "/device/v1/{product}/{device}";
    Router::new()
        .route(&format!("{DEVICE}/messages/{{*topic}}"), post(messages::publish))
        .route(&format!("{DEVICE}/messages"), post(messages::publish_many).get(follow::follow))
        .route(&format!("{DEVICE}/shadow"), get(shadow::describe).put(shadow::replace).patch(shadow::change))
}

/// The names in the path, checked.
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Gate>> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gate: &Arc<Gate>) -> Result<Self, ApiError> {
        let named = Path::from_request_parts(parts, gate).await;
        named
            .map(|Path(named)| Self(named))
            .map_err(|error| ApiError::invalid(format!("the path is not valid: {error}")))
    }
}

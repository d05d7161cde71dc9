//! `/v1/publish`: one message, from a program.

use axum::{Extension, Json, extract::State};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use weir_core::{Envelope, Offset, Protocol, Qos, Topic};

use crate::{
    access::{Access, Caller},
    error::ApiError,
    extract::MessageBody,
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::post(Access::Application, "/v1/publish", publish)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    topic: Topic,
    payload: Option<String>,
    payload_base64: Option<String>,
    /// 1 answers when the message is durable, 0 as soon as it is in the log.
    #[serde(default = "super::acknowledged")]
    qos: u8,
}

#[derive(Serialize)]
struct Published {
    offset: Offset,
}

async fn publish(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    MessageBody(message): MessageBody<Publish>,
) -> Result<Json<Published>, ApiError> {
    let payload = payload_of(message.payload, message.payload_base64)?;
    let qos = Qos::from_u8(message.qos)
        .filter(|qos| *qos <= Qos::AtLeastOnce)
        .ok_or_else(|| ApiError::invalid("qos: a message is published here with 0 or 1"))?;
    let publisher = caller.to_string();
    let envelope = Envelope::new(message.topic.as_str(), &publisher, Protocol::Api, qos, &payload);
    let offset = hub.broker.publish(&caller, envelope).await?;
    Ok(Json(Published { offset }))
}

/// A payload as text or as base64.
pub(super) fn payload_of(text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, ApiError> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(text)) => {
            STANDARD.decode(text).map_err(|error| ApiError::invalid(format!("payload_base64: {error}")))
        }
        _ => Err(ApiError::invalid("give either payload or payload_base64")),
    }
}

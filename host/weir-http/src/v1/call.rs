//! `/v1/products/{product}/devices/{device}/call`: sends a device something and waits for its answer.

use std::time::Duration;

use axum::{Extension, Json, extract::State};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use weir_core::DeviceId;

use super::publish::payload_of;
use crate::{
    access::{Access, Caller},
    error::ApiError,
    extract::{MessageBody, PathParams},
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::post(Access::Application, "/v1/products/{product}/devices/{device}/call", call)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    payload: Option<String>,
    payload_base64: Option<String>,
    /// Milliseconds.
    #[serde(default = "patience")]
    timeout: u64,
}

fn patience() -> u64 {
    5_000
}

#[derive(Serialize)]
struct Answer {
    id: u64,
    /// Left out if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    payload_base64: String,
}

async fn call(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(device): PathParams<DeviceId>,
    MessageBody(Call { payload, payload_base64, timeout }): MessageBody<Call>,
) -> Result<Json<Answer>, ApiError> {
    let payload = payload_of(payload, payload_base64)?;
    let answer = hub.broker.call(&caller, &device, &payload, Duration::from_millis(timeout)).await?;
    Ok(Json(Answer {
        id: answer.id,
        payload: std::str::from_utf8(&answer.payload).ok().map(str::to_owned),
        payload_base64: STANDARD.encode(&answer.payload),
    }))
}

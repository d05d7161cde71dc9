//! `/v1/products/{product}/devices/{device}/tokens`: revocable passwords, as `weir device connect` hands them out.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use weir_broker::admin::tokens;
use weir_core::{DeviceId, Timestamp};

use crate::{
    Endpoint,
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams},
    router::{Hub, Route},
};

const COLLECTION: &str = "/v1/products/{product}/devices/{device}/tokens";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, COLLECTION, create),
        Route::delete(Access::Administrator, COLLECTION, revoke),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    /// Seconds. Without it the token is good until it is revoked.
    expires_in: Option<u64>,
}

/// All that a plain MQTT client needs.
#[derive(Serialize)]
struct Connection {
    host: String,
    port: u16,
    /// Where the same credentials work over TLS.
    tls: Option<Endpoint>,
    /// Where they work by WebSocket, on any path, and by secure WebSocket.
    ws: Endpoint,
    wss: Option<Endpoint>,
    /// Where the token works by CoAP over UDP, and the device's key or certificate over DTLS.
    coap: Option<Endpoint>,
    coaps: Option<Endpoint>,
    username: String,
    password: String,
    /// Any would do; this one is the vendor's form and unique in the hub.
    client_id: String,
    expires_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Revoked {
    revoked: u64,
}

async fn create(
    State(hub): State<Hub>,
    PathParams(device): PathParams<DeviceId>,
    JsonBody(Create { expires_in }): JsonBody<Create>,
) -> Result<(StatusCode, Json<Connection>), ApiError> {
    let token = tokens::create(&hub.broker, &device, expires_in.map(Duration::from_secs)).await?;
    let options = &hub.options;
    let connection = Connection {
        host: options.mqtt.host.clone(),
        port: options.mqtt.port,
        tls: options.mqtts.clone(),
        ws: options.ws.clone(),
        wss: options.wss.clone(),
        coap: options.coap.clone(),
        coaps: options.coaps.clone(),
        username: device.to_string(),
        password: token.password,
        client_id: device.joined(),
        expires_at: token.expires_at,
    };
    Ok((StatusCode::CREATED, Json(connection)))
}

async fn revoke(State(hub): State<Hub>, PathParams(device): PathParams<DeviceId>) -> Result<Json<Revoked>, ApiError> {
    Ok(Json(Revoked { revoked: tokens::revoke(&hub.broker, &device).await? }))
}

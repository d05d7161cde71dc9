//! `/v1/products/{product}/devices`.

use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use weir_broker::{
    SessionStatus,
    admin::{
        devices::{self, Device},
        tokens::{self, TokenRow},
    },
};
use weir_core::{DeviceId, DeviceName, ProductId, Timestamp};

use super::{List, Page};
use crate::{
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams, QueryParams},
    router::{Hub, Route},
};

const COLLECTION: &str = "/v1/products/{product}/devices";
const DEVICE: &str = "/v1/products/{product}/devices/{device}";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, COLLECTION, create),
        Route::get(Access::Administrator, COLLECTION, list),
        Route::get(Access::Administrator, DEVICE, describe),
        Route::delete(Access::Administrator, DEVICE, remove),
        Route::patch(Access::Administrator, DEVICE, change),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: DeviceName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    enabled: bool,
}

#[derive(Serialize)]
struct Shown {
    product: ProductId,
    device: DeviceName,
    /// Base64. Left out of lists: nobody who looks over a fleet needs every secret of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    psk: Option<String>,
    enabled: bool,
    /// Whether the devices of its product may connect at all.
    product_enabled: bool,
    created_at: Timestamp,
}

#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    device: Shown,
    online: bool,
    session: Option<SessionStatus>,
    tokens: Vec<ShownToken>,
}

#[derive(Serialize)]
struct ShownToken {
    id: i64,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl From<TokenRow> for ShownToken {
    fn from(token: TokenRow) -> Self {
        Self { id: token.id.0, created_at: token.created_at, expires_at: token.expires_at }
    }
}

impl Shown {
    fn with_secret(device: Device) -> Self {
        Self { psk: Some(STANDARD.encode(&device.psk)), ..Self::listed(device) }
    }

    fn listed(device: Device) -> Self {
        Self {
            product: device.id.product,
            device: device.id.device,
            psk: None,
            enabled: device.enabled,
            product_enabled: device.product_enabled,
            created_at: device.created_at,
        }
    }
}

async fn create(
    State(hub): State<Hub>,
    PathParams(product): PathParams<ProductId>,
    JsonBody(Create { name }): JsonBody<Create>,
) -> Result<(StatusCode, Json<Shown>), ApiError> {
    let device = devices::create(&hub.broker, &DeviceId { product, device: name }).await?;
    Ok((StatusCode::CREATED, Json(Shown::with_secret(device))))
}

async fn list(
    State(hub): State<Hub>,
    PathParams(product): PathParams<ProductId>,
    QueryParams(Page { offset, limit }): QueryParams<Page>,
) -> Result<Json<List<Shown>>, ApiError> {
    let (devices, total) = devices::list(&hub.broker, &product, offset, limit).await?;
    Ok(Json(List { items: devices.into_iter().map(Shown::listed).collect(), total }))
}

async fn describe(State(hub): State<Hub>, PathParams(id): PathParams<DeviceId>) -> Result<Json<Described>, ApiError> {
    let device = devices::get(&hub.broker, &id)?;
    let session = hub.broker.device_session(&id).await;
    let tokens = tokens::list(&hub.broker, &id).await?;
    Ok(Json(Described {
        device: Shown::with_secret(device),
        online: session.as_ref().is_some_and(|session| session.connected_at.is_some()),
        session,
        tokens: tokens.into_iter().map(ShownToken::from).collect(),
    }))
}

async fn remove(State(hub): State<Hub>, PathParams(id): PathParams<DeviceId>) -> Result<StatusCode, ApiError> {
    devices::delete(&hub.broker, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change(
    State(hub): State<Hub>,
    PathParams(id): PathParams<DeviceId>,
    JsonBody(Change { enabled }): JsonBody<Change>,
) -> Result<Json<Shown>, ApiError> {
    let device = devices::set_enabled(&hub.broker, &id, enabled).await?;
    Ok(Json(Shown::listed(device)))
}

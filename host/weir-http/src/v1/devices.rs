//! `/v1/products/{product}/devices`.

use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use weir_broker::{
    SessionStatus,
    admin::{
        devices::{self, Device},
        gateways::{self, BoundDevice},
        tokens::{self, TokenRow},
    },
};
use weir_core::{DeviceId, DeviceName, ProductId, ProductType, Timestamp};

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
    enabled: Option<bool>,
    /// Only `false`, which lets it register again: that it has connected is the hub's to see.
    activated: Option<bool>,
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
    /// Its product's.
    #[serde(rename = "type")]
    kind: ProductType,
    /// When it connected for the first time; from then on it cannot register.
    activated_at: Option<Timestamp>,
    created_at: Timestamp,
}

#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    device: Shown,
    /// By itself, or through its gateway.
    online: bool,
    gateway: Option<Gateway>,
    session: Option<SessionStatus>,
    tokens: Vec<ShownToken>,
}

/// What the device is bound to.
#[derive(Serialize)]
struct Gateway {
    product: ProductId,
    device: DeviceName,
    bound_at: Timestamp,
    /// Since when the device is online through it, if it is.
    online_since: Option<Timestamp>,
}

impl From<BoundDevice> for Gateway {
    fn from(bound: BoundDevice) -> Self {
        let BoundDevice { gateway, bound_at, online_since, .. } = bound;
        Self { product: gateway.product, device: gateway.device, bound_at, online_since }
    }
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
            kind: device.kind,
            activated_at: device.activated_at,
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
    let gateway = gateways::of(&hub.broker, &id)?;
    let through = gateway.as_ref().is_some_and(|gateway| gateway.online_since.is_some());
    Ok(Json(Described {
        device: Shown::with_secret(device),
        online: through || session.as_ref().is_some_and(|session| session.connected_at.is_some()),
        gateway: gateway.map(Gateway::from),
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
    JsonBody(Change { enabled, activated }): JsonBody<Change>,
) -> Result<Json<Shown>, ApiError> {
    let mut changed = None;
    match activated {
        Some(true) => return Err(ApiError::invalid("activated: a device becomes so by connecting")),
        Some(false) => changed = Some(devices::reset(&hub.broker, &id).await?),
        None => {}
    }
    if let Some(enabled) = enabled {
        changed = Some(devices::set_enabled(&hub.broker, &id, enabled).await?);
    }
    let device = changed.ok_or_else(|| ApiError::invalid("give enabled or activated"))?;
    Ok(Json(Shown::listed(device)))
}

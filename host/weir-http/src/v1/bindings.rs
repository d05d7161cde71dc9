//! `/v1/products/{product}/devices/{device}/bindings`: the devices that are bound to a gateway.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use weir_broker::admin::gateways::{self, BoundDevice};
use weir_core::{DeviceId, DeviceName, ProductId, Timestamp};

use super::List;
use crate::{
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams, QueryParams},
    router::{Hub, Route},
};

const COLLECTION: &str = "/v1/products/{product}/devices/{device}/bindings";
const BINDING: &str = "/v1/products/{product}/devices/{device}/bindings/{bound_product}/{bound_device}";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, COLLECTION, create),
        Route::get(Access::Administrator, COLLECTION, list),
        Route::delete(Access::Administrator, BINDING, remove),
    ]
}

/// All are bound, or none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    devices: Vec<DeviceId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    offset: u64,
    #[serde(default = "super::page_limit")]
    limit: u32,
    /// Only devices of this one.
    of_product: Option<ProductId>,
}

#[derive(Serialize)]
struct Shown {
    product: ProductId,
    device: DeviceName,
    bound_at: Timestamp,
    /// Since when it is online through the gateway, if it is.
    online_since: Option<Timestamp>,
}

impl From<BoundDevice> for Shown {
    fn from(bound: BoundDevice) -> Self {
        let BoundDevice { device, bound_at, online_since, .. } = bound;
        Self { product: device.product, device: device.device, bound_at, online_since }
    }
}

#[derive(Serialize)]
struct Made {
    bound: Vec<DeviceId>,
}

#[derive(Deserialize)]
struct Binding {
    product: ProductId,
    device: DeviceName,
    bound_product: ProductId,
    bound_device: DeviceName,
}

async fn create(
    State(hub): State<Hub>,
    PathParams(gateway): PathParams<DeviceId>,
    JsonBody(Create { devices }): JsonBody<Create>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    gateways::bind(&hub.broker, &gateway, devices.clone()).await?;
    Ok((StatusCode::CREATED, Json(Made { bound: devices })))
}

async fn list(
    State(hub): State<Hub>,
    PathParams(gateway): PathParams<DeviceId>,
    QueryParams(Page { offset, limit, of_product }): QueryParams<Page>,
) -> Result<Json<List<Shown>>, ApiError> {
    let (bound, total) = gateways::list(&hub.broker, &gateway, of_product.as_ref(), offset, limit).await?;
    Ok(Json(List { items: bound.into_iter().map(Shown::from).collect(), total }))
}

async fn remove(
    State(hub): State<Hub>,
    PathParams(Binding { product, device, bound_product, bound_device }): PathParams<Binding>,
) -> Result<StatusCode, ApiError> {
    let bound = DeviceId { product: bound_product, device: bound_device };
    gateways::unbind(&hub.broker, &DeviceId { product, device }, vec![bound]).await?;
    Ok(StatusCode::NO_CONTENT)
}

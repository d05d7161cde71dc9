//! `/v1/products/{product}/devices/{device}/pins`: certificates that are good for one device, whoever signed them. A device
//! that has some accepts no other certificate. They are listed among its certificates.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use weir_broker::admin::certificates;
use weir_core::{DeviceId, DeviceName, Fingerprint, ProductId};

use crate::{
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams},
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, "/v1/products/{product}/devices/{device}/pins", create),
        Route::delete(Access::Administrator, "/v1/products/{product}/devices/{device}/pins/{fingerprint}", remove),
    ]
}

/// One of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    /// PEM. It is read, and refused if no device could come with it.
    certificate: Option<String>,
    /// SHA-256 in hex, where the certificate is not at hand.
    fingerprint: Option<String>,
}

#[derive(Serialize)]
struct Pinned {
    product: ProductId,
    device: DeviceName,
    fingerprint: Fingerprint,
}

#[derive(Deserialize)]
struct Pin {
    product: ProductId,
    device: DeviceName,
    fingerprint: String,
}

async fn create(
    State(hub): State<Hub>,
    PathParams(id): PathParams<DeviceId>,
    JsonBody(new): JsonBody<Create>,
) -> Result<(StatusCode, Json<Pinned>), ApiError> {
    let fingerprint = match (new.certificate, new.fingerprint) {
        (Some(certificate), None) => hub.options.authority.read(&certificate).map_err(ApiError::invalid)?,
        (None, Some(fingerprint)) => fingerprint.parse()?,
        _ => return Err(ApiError::invalid("give either the certificate or its fingerprint")),
    };
    certificates::pin(&hub.broker, &id, fingerprint).await?;
    Ok((StatusCode::CREATED, Json(Pinned { product: id.product, device: id.device, fingerprint })))
}

async fn remove(
    State(hub): State<Hub>,
    PathParams(Pin { product, device, fingerprint }): PathParams<Pin>,
) -> Result<StatusCode, ApiError> {
    certificates::unpin(&hub.broker, &DeviceId { product, device }, &fingerprint.parse()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

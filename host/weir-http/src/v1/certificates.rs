//! `/v1/products/{product}/devices/{device}/certificates` and `/v1/ca`: what devices need to come with a certificate.
//!
//! A certificate is good until it expires. Disabling or deleting its device takes its use away.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Deserialize;
use weir_broker::admin::devices;
use weir_core::{DeviceId, ErrorKind};

use crate::{
    IssuedCertificate,
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams},
    router::{Hub, Route},
};

const COLLECTION: &str = "/v1/products/{product}/devices/{device}/certificates";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, COLLECTION, create),
        // No secret, but nobody's business who has no key.
        Route::get(Access::Application, "/v1/ca", authority),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    /// Seconds. Without it as long as the authority sees fit.
    expires_in: Option<u64>,
}

async fn create(
    State(hub): State<Hub>,
    PathParams(device): PathParams<DeviceId>,
    JsonBody(Create { expires_in }): JsonBody<Create>,
) -> Result<(StatusCode, Json<IssuedCertificate>), ApiError> {
    if expires_in == Some(0) {
        return Err(ApiError::invalid("expires_in must be at least one second"));
    }
    devices::get(&hub.broker, &device)?;
    let authority = Arc::clone(&hub.options.authority);
    let life = expires_in.map(Duration::from_secs);
    let issued = tokio::task::spawn_blocking(move || authority.issue(&device, life)).await;
    let failed = |error: String| ApiError::new(ErrorKind::Internal, format!("the certificate was not made: {error}"));
    let issued = issued.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    Ok((StatusCode::CREATED, Json(issued)))
}

async fn authority(State(hub): State<Hub>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/pem-certificate-chain")], hub.options.authority.certificate())
}

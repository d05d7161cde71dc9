//! `/v1/products/{product}/devices/{device}/certificates`, `/v1/products/{product}/certificates`,
//! `/v1/certificates/{certificate}` and `/v1/ca`: what devices need to come with a certificate, and taking it back.
//!
//! A certificate is good until it expires or is revoked. Disabling or deleting its device takes its use away too.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use weir_broker::admin::{
    certificates::{self, CertificateName, CertificateRow},
    devices,
};
use weir_core::{DeviceId, DeviceName, Fingerprint, ProductId, Serial, Timestamp};

use super::{List, Page};
use crate::{
    IssuedCertificate,
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams, QueryParams},
    issue::issue,
    router::{Hub, Route},
};

const COLLECTION: &str = "/v1/products/{product}/devices/{device}/certificates";

/// Hex digits of the longest serial number; a fingerprint has more.
const SERIAL_DIGITS: usize = 40;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, COLLECTION, create),
        Route::get(Access::Administrator, COLLECTION, of_device),
        Route::get(Access::Administrator, "/v1/products/{product}/certificates", list),
        Route::delete(Access::Administrator, "/v1/certificates/{certificate}", revoke),
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

#[derive(Serialize)]
struct Shown {
    product: ProductId,
    device: DeviceName,
    fingerprint: Fingerprint,
    /// Whether the hub's authority made it. Of one that is only pinned, number and end are not known.
    issued: bool,
    pinned: bool,
    serial: Option<Serial>,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    created_at: Timestamp,
}

#[derive(Serialize)]
struct Revoked {
    revoked: Fingerprint,
}

impl From<CertificateRow> for Shown {
    fn from(row: CertificateRow) -> Self {
        let (serial, expires_at) = row.issued.unzip();
        Self {
            product: row.device.product,
            device: row.device.device,
            fingerprint: row.fingerprint,
            issued: serial.is_some(),
            pinned: row.pinned,
            serial,
            expires_at,
            revoked_at: row.revoked_at,
            created_at: row.created_at,
        }
    }
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
    let life = expires_in.map(Duration::from_secs);
    let issued = issue(&hub.broker, &hub.options.authority, &device, life).await?;
    Ok((StatusCode::CREATED, Json(issued)))
}

async fn list(
    State(hub): State<Hub>,
    PathParams(product): PathParams<ProductId>,
    QueryParams(Page { offset, limit }): QueryParams<Page>,
) -> Result<Json<List<Shown>>, ApiError> {
    let (rows, total) = certificates::list(&hub.broker, &product, offset, limit).await?;
    Ok(Json(List { items: rows.into_iter().map(Shown::from).collect(), total }))
}

async fn of_device(
    State(hub): State<Hub>,
    PathParams(device): PathParams<DeviceId>,
    QueryParams(Page { offset, limit }): QueryParams<Page>,
) -> Result<Json<List<Shown>>, ApiError> {
    let (rows, total) = certificates::of_device(&hub.broker, &device, offset, limit).await?;
    Ok(Json(List { items: rows.into_iter().map(Shown::from).collect(), total }))
}

/// Idempotent, and also for a certificate that a product's authority signed, which the hub has never seen.
async fn revoke(
    State(hub): State<Hub>,
    PathParams(certificate): PathParams<String>,
) -> Result<Json<Revoked>, ApiError> {
    let digits = certificate.chars().filter(|c| *c != ':').count();
    let name = match digits <= SERIAL_DIGITS {
        true => CertificateName::Serial(certificate.parse()?),
        false => CertificateName::Fingerprint(certificate.parse()?),
    };
    let revoked = certificates::revoke(&hub.broker, name).await?;
    Ok(Json(Revoked { revoked }))
}

async fn authority(State(hub): State<Hub>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/pem-certificate-chain")], hub.options.authority.certificate())
}

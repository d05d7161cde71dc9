//! Making a certificate for a device, and keeping note of it before it is handed out.

use std::{sync::Arc, time::Duration};

use weir_broker::{
    Broker,
    admin::certificates::{self, IssuedRow},
};
use weir_core::{DeviceId, ErrorKind};

use crate::{CertificateAuthority, IssuedCertificate, error::ApiError};

pub(crate) async fn issue(
    broker: &Broker,
    authority: &Arc<dyn CertificateAuthority>,
    device: &DeviceId,
    life: Option<Duration>,
) -> Result<IssuedCertificate, ApiError> {
    let (authority, named) = (Arc::clone(authority), device.clone());
    let issued = tokio::task::spawn_blocking(move || authority.issue(&named, life)).await;
    let failed = |error: String| ApiError::new(ErrorKind::Internal, format!("the certificate was not made: {error}"));
    let issued = issued.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    let record = IssuedRow {
        device: device.clone(),
        fingerprint: issued.fingerprint,
        serial: issued.serial.clone(),
        expires_at: issued.expires_at,
        created_at: broker.clock().now(),
    };
    certificates::record(broker, record).await?;
    Ok(issued)
}

//! Single certificates: what the hub issued, what is pinned to a device, what was revoked.

pub use weir_store::{CertificateName, CertificateRow, IssuedRow};

use weir_core::{CertificateIdentity, DeviceId, Fingerprint, ProductId};

use super::{AdminError, check_page, completed, devices, products};
use crate::{Broker, CloseReason};

/// Keeps what was issued. Do it before the certificate is handed out: one that is not recorded could not be revoked by
/// its number.
pub async fn record(broker: &Broker, issued: IssuedRow) -> Result<(), AdminError> {
    Ok(broker.store().record_certificate(issued).await?)
}

/// One page of a product's certificates, issued or pinned, by device, and how many it has.
pub async fn list(
    broker: &Broker,
    product: &ProductId,
    offset: u64,
    limit: u32,
) -> Result<(Vec<CertificateRow>, u64), AdminError> {
    check_page(limit)?;
    products::get(broker, product)?;
    Ok(broker.store().certificates(product, None, offset, limit).await?)
}

/// The same of one device.
pub async fn of_device(
    broker: &Broker,
    device: &DeviceId,
    offset: u64,
    limit: u32,
) -> Result<(Vec<CertificateRow>, u64), AdminError> {
    check_page(limit)?;
    devices::get(broker, device)?;
    Ok(broker.store().certificates(&device.product, Some(device), offset, limit).await?)
}

/// Revokes a certificate for ever, and ends the sessions that came by it or by one that it signed.
pub async fn revoke(broker: &Broker, name: CertificateName) -> Result<Fingerprint, AdminError> {
    completed(broker, "certificate revoked", |broker| async move {
        let revoked = broker.store().revoke_certificate(name, broker.clock().now()).await?;
        let withdrawn = |certificate: &CertificateIdentity| {
            certificate.fingerprint == revoked || certificate.between.contains(&revoked)
        };
        broker.close_certificate_sessions(withdrawn, CloseReason::Disabled);
        Ok(revoked)
    })
    .await
}

/// Pins a certificate to a device, which from now on accepts no other than those that are pinned to it. Its session ends
/// if it came by another.
pub async fn pin(broker: &Broker, device: &DeviceId, certificate: Fingerprint) -> Result<(), AdminError> {
    completed(broker, "certificate pinned", |broker| {
        let device = device.clone();
        async move {
            broker.store().create_pin(&device, certificate, broker.clock().now()).await?;
            judge_again(&broker, &device);
            Ok(())
        }
    })
    .await
}

/// Takes a pin away, and ends the session that came by it.
pub async fn unpin(broker: &Broker, device: &DeviceId, certificate: &Fingerprint) -> Result<(), AdminError> {
    devices::get(broker, device)?;
    completed(broker, "pin deleted", |broker| {
        let (device, certificate) = (device.clone(), *certificate);
        async move {
            broker.store().delete_pin(&device, &certificate).await?;
            judge_again(&broker, &device);
            Ok(())
        }
    })
    .await
}

fn judge_again(broker: &Broker, device: &DeviceId) {
    let withdrawn =
        |certificate: &CertificateIdentity| certificate.device == *device && !broker.still_believed(certificate);
    broker.close_certificate_sessions(withdrawn, CloseReason::Disabled);
}

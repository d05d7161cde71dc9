//! Authorities of products: whose signature under a certificate lets a device in.
//!
//! Whether a certificate is one of an authority, and whether who registers it has its key, is checked by whoever reads
//! certificates, before it comes here.

pub use weir_store::AuthorityRow;

use weir_core::{CertificateIdentity, Fingerprint, ProductId, Voucher};

use super::{AdminError, completed, products};
use crate::{Broker, CloseReason};

/// Registers an authority. Handshakes go by it from now on.
pub async fn create(broker: &Broker, new: AuthorityRow) -> Result<(), AdminError> {
    Ok(broker.store().create_authority(new).await?)
}

pub fn get(broker: &Broker, product: &ProductId, fingerprint: &Fingerprint) -> Result<AuthorityRow, AdminError> {
    let found = broker.store().authority(product, fingerprint)?;
    found.ok_or_else(|| AdminError::missing("authority", fingerprint))
}

pub fn list(broker: &Broker, product: &ProductId) -> Result<Vec<AuthorityRow>, AdminError> {
    products::get(broker, product)?;
    Ok(broker.store().authorities(product)?)
}

/// Takes an authority away, and ends the sessions whose certificates it vouched for, unless the product has another
/// certificate of the same authority.
pub async fn delete(broker: &Broker, product: &ProductId, fingerprint: &Fingerprint) -> Result<(), AdminError> {
    completed(broker, "authority deleted", |broker| {
        let (product, fingerprint) = (product.clone(), *fingerprint);
        async move {
            let anchor = broker.store().delete_authority(&product, &fingerprint).await?;
            if !broker.store().is_authority(&product, &anchor, broker.clock().now())? {
                let voucher = Voucher::Product(product);
                let withdrawn = |certificate: &CertificateIdentity| {
                    certificate.voucher == voucher && certificate.anchor == Some(anchor)
                };
                broker.close_certificate_sessions(withdrawn, CloseReason::Disabled);
            }
            Ok(())
        }
    })
    .await
}

//! What handshakes believe: the hub's authority, and what the store says of authorities of products, pins and revocations.
//!
//! The store is asked in each handshake that shows a certificate, so a change holds from the next one on. Only the
//! authorities are kept in the form that verification wants, until the store says that they changed.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_core::{DeviceId, Fingerprint};
use weir_store::{AuthorityRow, Store, StoreError};
use weir_tls::{Authorities, Certificate, CertificateError, Trust};

#[derive(Debug)]
pub(super) struct StoreTrust {
    hub: Certificate,
    store: Store,
    /// The authorities as of a number of changes. Held while they are read again, so that one handshake does it for all
    /// that wait.
    read: Mutex<(i64, Arc<Authorities>)>,
}

impl StoreTrust {
    /// `hub` is the hub's own authority.
    pub(super) fn new(hub: Certificate, store: Store) -> Result<Self, CertificateError> {
        // There is no such number of changes, so the first handshake reads what there is.
        let mut own = Authorities::default();
        own.add_hub(&hub)?;
        Ok(Self { hub, store, read: Mutex::new((-1, Arc::new(own))) })
    }

    fn current(&self) -> Result<Arc<Authorities>, StoreError> {
        let mut read = self.read.lock();
        if self.store.authority_changes()? != read.0 {
            let (number, rows) = self.store.all_authorities()?;
            let mut all = Authorities::default();
            if let Err(error) = all.add_hub(&self.hub) {
                tracing::error!(%error, "the hub's authority cannot be used");
            }
            for AuthorityRow { product, fingerprint, certificate, .. } in rows {
                let certificate = Certificate::parse(&certificate);
                let added = certificate.and_then(|certificate| all.add_product(product.clone(), &certificate));
                if let Err(error) = added {
                    tracing::error!(%product, %fingerprint, %error, "an authority of a product cannot be used");
                }
            }
            *read = (number, Arc::new(all));
        }
        Ok(Arc::clone(&read.1))
    }
}

impl Trust for StoreTrust {
    fn authorities(&self) -> Arc<Authorities> {
        self.current().unwrap_or_else(|error| denied(&error, Arc::default()))
    }

    fn pinned(&self, certificate: &Fingerprint) -> Option<DeviceId> {
        self.store.pin(certificate).unwrap_or_else(|error| denied(&error, None))
    }

    fn accepts_only_pins(&self, device: &DeviceId) -> bool {
        self.store.has_pins(device).unwrap_or_else(|error| denied(&error, true))
    }

    fn is_revoked(&self, certificate: &Fingerprint) -> bool {
        self.store.is_revoked(certificate).unwrap_or_else(|error| denied(&error, true))
    }
}

/// What is answered when the store cannot.
fn denied<T>(error: &StoreError, answer: T) -> T {
    tracing::warn!(%error, "a client's certificate cannot be looked up");
    answer
}

#[cfg(test)]
mod tests {
    use weir_core::Timestamp;
    use weir_store::NewProduct;
    use weir_tls::Authority;

    use super::*;

    #[tokio::test]
    async fn authorities_are_read_again_when_they_changed_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let now = Timestamp(1_700_000_000_000);
        let authority = |name: &str| Authority::open(&folder.path().join(name), now).unwrap();
        let (hub, other) = (authority("hub"), authority("other"));
        let id: weir_core::ProductId = "A1B2C3D4E5".parse().unwrap();
        let product = NewProduct { id: Some(id.clone()), ..NewProduct::default() };
        store.create_product(product, now).await.unwrap();
        let trust = StoreTrust::new(hub.certificate().clone(), store.clone()).unwrap();
        let first = trust.authorities();
        assert_eq!(first.len(), 1);
        assert!(Arc::ptr_eq(&first, &trust.authorities()));

        let certificate = other.certificate();
        let row = |fingerprint, certificate| AuthorityRow {
            product: id.clone(),
            fingerprint,
            anchor: fingerprint,
            certificate,
            subject: String::new(),
            proved: true,
            expires_at: Timestamp(i64::MAX),
            created_at: now,
        };
        let fingerprint = certificate.fingerprint();
        store.create_authority(row(fingerprint, certificate.der().to_vec())).await.unwrap();
        // One that cannot be read harms no other.
        store.create_authority(row(Fingerprint::new([1; 32]), vec![0])).await.unwrap();
        let second = trust.authorities();
        assert_eq!(second.len(), 2);
        assert!(Arc::ptr_eq(&second, &trust.authorities()));
        store.delete_authority(&id, &fingerprint).await.unwrap();
        assert_eq!(trust.authorities().len(), 1);
        store.close().await;
    }
}

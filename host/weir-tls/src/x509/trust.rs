//! What the hub believes, as whoever keeps it tells: authorities, pinned certificates, revocations.

use std::{fmt, sync::Arc};

use openssl::sha::Sha256;
use rustls_pki_types::TrustAnchor;
use weir_core::{DeviceId, Fingerprint, ProductId, Timestamp, Voucher};

use crate::{Certificate, CertificateError};

/// Looked up in every handshake that shows a certificate, on a thread of the runtime: answers must not wait. Each
/// handshake sees what is true then, so changes need no restart. Connections that are open are the caller's to close.
/// Who cannot answer denies.
pub trait Trust: fmt::Debug + Send + Sync {
    fn authorities(&self) -> Arc<Authorities>;

    /// The device that this very certificate is pinned to, whoever signed it.
    fn pinned(&self, certificate: &Fingerprint) -> Option<DeviceId>;

    /// Whether the device has pins, and so no other certificate is good for it.
    fn accepts_only_pins(&self, device: &DeviceId) -> bool;

    /// Asked for the client's certificate and for every one between it and the authority.
    fn is_revoked(&self, certificate: &Fingerprint) -> bool;
}

/// Authorities in the form that verification wants. Make it once per change, not per handshake.
#[derive(Debug, Default)]
pub struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// For each anchor, who stands behind it, and until when.
    vouchers: Vec<Vec<(Voucher, Timestamp)>>,
}

impl Authorities {
    /// Adds the hub's authority.
    pub fn add_hub(&mut self, certificate: &Certificate) -> Result<(), CertificateError> {
        self.add(certificate, Voucher::Hub)
    }

    /// Adds an authority that a product registered. It vouches for devices of that product alone, until it expires.
    pub fn add_product(&mut self, product: ProductId, certificate: &Certificate) -> Result<(), CertificateError> {
        self.add(certificate, Voucher::Product(product))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    fn add(&mut self, certificate: &Certificate, voucher: Voucher) -> Result<(), CertificateError> {
        if !certificate.is_authority() {
            return Err(CertificateError::NotAnAuthority { subject: certificate.subject() });
        }
        let anchor = webpki::anchor_from_trusted_cert(certificate.der()).map_err(CertificateError::Unusable)?;
        let until = certificate.not_after();
        let same = self.anchors.iter().position(|known| same(known, &anchor));
        match same.and_then(|at| self.vouchers.get_mut(at)) {
            Some(vouchers) => match vouchers.iter_mut().find(|(known, _)| *known == voucher) {
                Some((_, known)) => *known = until.max(*known),
                None => vouchers.push((voucher, until)),
            },
            None => {
                self.anchors.push(anchor.to_owned());
                self.vouchers.push(vec![(voucher, until)]);
            }
        }
        Ok(())
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Who stands behind an anchor now. The library verifies every certificate's time but the anchor's.
    pub(super) fn vouchers(&self, anchor: &TrustAnchor<'_>, now: Timestamp) -> Vec<Voucher> {
        let at = self.anchors.iter().position(|known| same(known, anchor));
        let known = at.and_then(|at| self.vouchers.get(at)).into_iter().flatten();
        known.filter(|(_, until)| now <= *until).map(|(voucher, _)| voucher.clone()).collect()
    }
}

/// The hash of an authority's name and key.
pub(crate) fn anchor_of(anchor: &TrustAnchor<'_>) -> Fingerprint {
    let mut hash = Sha256::new();
    // The length keeps the two apart.
    hash.update(&(anchor.subject.len() as u64).to_be_bytes());
    hash.update(&anchor.subject);
    hash.update(&anchor.subject_public_key_info);
    Fingerprint::new(hash.finish())
}

/// Certificates of one authority that was renewed with the same key are one anchor.
fn same(a: &TrustAnchor<'_>, b: &TrustAnchor<'_>) -> bool {
    a.subject == b.subject && a.subject_public_key_info == b.subject_public_key_info
}

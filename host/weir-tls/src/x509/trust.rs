//! What the hub believes, as whoever keeps it tells: authorities, pinned certificates, revocations.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls_pki_types::TrustAnchor;
use weir_core::{DeviceId, ProductId};

use super::Voucher;
use crate::{Certificate, CertificateError, Fingerprint, Serial};

/// Looked up in every handshake that shows a certificate, on a thread of the runtime: answers must not wait. Each
/// handshake sees what is true then, so changes need no restart. Connections that are open are the caller's to close.
pub trait Trust: fmt::Debug + Send + Sync {
    fn authorities(&self) -> Arc<Authorities>;

    /// The device that this very certificate is pinned to, whoever signed it.
    fn pinned(&self, fingerprint: &Fingerprint) -> Option<DeviceId>;

    /// Asked for the client's certificate and for every one between it and the authority.
    fn is_revoked(&self, certificate: &Presented<'_>) -> bool;
}

/// A certificate that would be good if it is not revoked.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    pub fingerprint: Fingerprint,
    pub serial: &'a Serial,
    pub voucher: &'a Voucher,
}

/// Authorities in the form that verification wants. Make it once per change, not per handshake.
#[derive(Debug, Default)]
pub struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// For each anchor, who stands behind it.
    vouchers: Vec<Vec<Voucher>>,
}

/// A certificate that is believed no more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revocation {
    Certificate(Fingerprint),
    /// By number, of the authority of this product, or of the hub's.
    Serial {
        authority: Option<ProductId>,
        serial: Serial,
    },
}

/// All of it in memory.
#[derive(Debug, Default)]
pub struct TrustSnapshot {
    pub authorities: Arc<Authorities>,
    pub pins: HashMap<Fingerprint, DeviceId>,
    pub revocations: HashSet<Revocation>,
}

/// A snapshot that is replaced as a whole.
#[derive(Debug, Default)]
pub struct SharedTrust(ArcSwap<TrustSnapshot>);

impl Authorities {
    /// Adds the hub's authority.
    pub fn with_hub(self, certificate: &Certificate) -> Result<Self, CertificateError> {
        self.with(certificate, Voucher::Hub)
    }

    /// Adds an authority that a product registered. It vouches for devices of that product alone.
    pub fn with_product(self, product: ProductId, certificate: &Certificate) -> Result<Self, CertificateError> {
        self.with(certificate, Voucher::Product(product))
    }

    fn with(mut self, certificate: &Certificate, voucher: Voucher) -> Result<Self, CertificateError> {
        if !certificate.is_authority() {
            return Err(CertificateError::NotAnAuthority { subject: certificate.subject() });
        }
        let anchor = webpki::anchor_from_trusted_cert(certificate.der()).map_err(CertificateError::Unusable)?;
        let same = self.anchors.iter().position(|known| same(known, &anchor));
        match same.and_then(|at| self.vouchers.get_mut(at)) {
            Some(vouchers) if vouchers.contains(&voucher) => {}
            Some(vouchers) => vouchers.push(voucher),
            None => {
                self.anchors.push(anchor.to_owned());
                self.vouchers.push(vec![voucher]);
            }
        }
        Ok(self)
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(super) fn vouchers(&self, anchor: &TrustAnchor<'_>) -> &[Voucher] {
        let at = self.anchors.iter().position(|known| same(known, anchor));
        at.and_then(|at| self.vouchers.get(at)).map_or(&[], Vec::as_slice)
    }
}

impl SharedTrust {
    pub fn new(snapshot: TrustSnapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// What the next handshake goes by.
    pub fn replace(&self, snapshot: TrustSnapshot) {
        self.0.store(Arc::new(snapshot));
    }
}

impl Trust for SharedTrust {
    fn authorities(&self) -> Arc<Authorities> {
        Arc::clone(&self.0.load().authorities)
    }

    fn pinned(&self, fingerprint: &Fingerprint) -> Option<DeviceId> {
        self.0.load().pins.get(fingerprint).cloned()
    }

    fn is_revoked(&self, certificate: &Presented<'_>) -> bool {
        let revocations = &self.0.load().revocations;
        let authority = match certificate.voucher {
            Voucher::Hub => None,
            Voucher::Product(product) => Some(product.clone()),
            // A pinned one has no authority whose numbers could mean it.
            Voucher::Pin => return revocations.contains(&Revocation::Certificate(certificate.fingerprint)),
        };
        revocations.contains(&Revocation::Certificate(certificate.fingerprint))
            || revocations.contains(&Revocation::Serial { authority, serial: certificate.serial.clone() })
    }
}

/// Certificates of one authority that was renewed with the same key are one anchor.
fn same(a: &TrustAnchor<'_>, b: &TrustAnchor<'_>) -> bool {
    a.subject == b.subject && a.subject_public_key_info == b.subject_public_key_info
}

//! TLS with certificates, by rustls: which certificate the hub shows, and which ones of clients it believes.
//!
//! A client may come without a certificate; then whoever serves it asks for other credentials. A certificate that is
//! shown must be good. It is good if it is pinned, or if an authority vouches for it: the hub's own, or one that a
//! product registered. In every case it must be of version 3, in time, and not revoked; one that is not pinned must be
//! meant for clients, and its device must have no pins, because a device that has some accepts nothing else.
//!
//! Which device a certificate is for ([`CertificatePeer::device`]):
//! * a pinned one: the device it is pinned to;
//! * one of the hub's authority: the subject alternative name `URI:weir:device:PRODUCT/DEVICE`, nothing else;
//! * one of a product's authority: the same URI, or without one the common name `DEVICE`, `PRODUCTDEVICE` (the client
//!   id of the vendor's SDKs) or `PRODUCT/DEVICE`. It never names a device of another product.

mod identity;
mod server;
mod stream;
mod trust;
mod verifier;

#[cfg(test)]
mod tests;

pub(crate) use identity::device_uri;
pub(crate) use server::ServerSide;
pub use server::{ServerCertificate, ServerCertificates};
pub(crate) use stream::X509Stream;
pub(crate) use trust::anchor_of;
pub use trust::{Authorities, Trust};
pub use verifier::CertificateRefusal;
pub(crate) use verifier::{Verifier, Witness};

use weir_core::{CertificateIdentity, DeviceId, Fingerprint, Voucher};

/// A client that proved to have the private key of a certificate that the hub believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePeer {
    /// `None` if the certificate names no device: it is believed, but nobody is bound to it.
    pub device: Option<DeviceId>,
    pub fingerprint: Fingerprint,
    pub voucher: Voucher,
    /// See [`Certificate::anchor`](crate::Certificate::anchor); `None` if it is pinned.
    pub anchor: Option<Fingerprint>,
    /// The certificates between it and the authority.
    pub between: Box<[Fingerprint]>,
}

impl CertificatePeer {
    /// Whom it proves, and what that rests on.
    pub fn identity(self) -> Option<CertificateIdentity> {
        let Self { device, fingerprint, voucher, anchor, between } = self;
        Some(CertificateIdentity { device: device?, fingerprint, voucher, anchor, between })
    }
}

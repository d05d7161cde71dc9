//! TLS with certificates, by rustls: which certificate the hub shows, and which ones of clients it believes.
//!
//! A client may come without a certificate; then whoever serves it asks for other credentials. A certificate that is
//! shown must be good. It is good if it is pinned, or if an authority vouches for it: the hub's own, or one that a
//! product registered. In every case it must be of version 3, in time, meant for clients, and not revoked.
//!
//! Which device a certificate is for ([`CertificatePeer::device`]):
//! * a pinned one: the device it is pinned to;
//! * one of the hub's authority: the subject alternative name `URI:weir:device:PRODUCT/DEVICE`, nothing else;
//! * one of a product's authority: the same URI, or without one the common name `DEVICE`, `PRODUCTDEVICE` (the client
//!   id of the vendor's SDKs) or `PRODUCT/DEVICE`. It never names a device of another product.

mod identity;
mod server;
mod trust;
mod verifier;

#[cfg(test)]
mod tests;

pub(crate) use identity::device_uri;
pub(crate) use server::ServerSide;
pub use server::{ServerCertificate, ServerCertificates};
pub use trust::{Authorities, Presented, Revocation, SharedTrust, Trust, TrustSnapshot};
pub use verifier::CertificateRefusal;
pub(crate) use verifier::{Verifier, Witness};

use weir_core::{DeviceId, ProductId};

use crate::{Fingerprint, Serial};

/// A client that proved to have the private key of a certificate that the hub believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePeer {
    /// `None` if the certificate names no device: it is believed, but nobody is bound to it.
    pub device: Option<DeviceId>,
    pub fingerprint: Fingerprint,
    pub serial: Serial,
    pub voucher: Voucher,
}

/// Why a certificate is believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Voucher {
    /// The hub's own authority signed it.
    Hub,
    /// The authority that this product registered signed it.
    Product(ProductId),
    /// It is pinned.
    Pin,
}

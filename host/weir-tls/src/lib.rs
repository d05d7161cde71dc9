//! The hub's certificates, and streams that are encrypted with them.
//!
//! [`authority`] makes the hub's own CA, its server certificate and certificates for devices. [`Acceptor`] turns a TCP
//! stream into a [`TlsStream`] and says who is at its other end: nobody yet, a certificate, or a pre-shared key. Both
//! kinds of client come to one port; the ClientHello tells them apart ([`sniff`]). [`dtls`] is the same for datagrams.
//!
//! Architecture invariant: this crate proves possession of a key and nothing more. Whether a device exists, is enabled
//! or may do something is decided elsewhere; what it must know of devices comes through [`Trust`] and [`PskLookup`].
//! Sessions are never resumed: a resumed one would skip the look at revocations, and tickets would cost memory.

mod acceptor;
pub mod authority;
mod certificate;
pub mod dtls;
mod error;
mod now;
mod prefixed;
pub mod psk;
mod psk_client;
mod registration;
pub mod sniff;
mod stream;
pub mod x509;

#[cfg(test)]
mod tests;

pub use acceptor::{Acceptor, AcceptorOptions, Peer, Proofs};
pub use authority::{Authority, AuthorityError, DeviceCertificate, DeviceRequest, HostName, KeyKind};
pub use certificate::{Certificate, CertificateError, fingerprint_of};
pub use error::{AcceptError, SetupError};
pub use now::Now;
pub use psk::{PskKey, PskLookup};
pub use psk_client::PskConnector;
pub use registration::{RegistrationError, RegistrationProof, check_registration, registration_code};
pub use stream::TlsStream;
pub use x509::{Authorities, CertificatePeer, CertificateRefusal, ServerCertificate, ServerCertificates, Trust};

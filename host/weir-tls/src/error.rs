//! Why a connection did not become a TLS stream.

use std::io;

use openssl::error::ErrorStack;
use weir_core::{Classify, ErrorKind, Fingerprint};

use crate::x509::CertificateRefusal;

#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("the client did not finish the handshake in time")]
    Timeout,
    #[error("the client closed the connection during the handshake")]
    Closed,
    #[error("the client does not speak TLS; the port for plain connections is another one")]
    NotTls,
    #[error("the ClientHello is longer than {limit} bytes")]
    HelloTooLarge { limit: usize },
    #[error("the client's certificate {fingerprint} is refused: {refusal}")]
    Certificate { fingerprint: Fingerprint, refusal: CertificateRefusal },
    #[error("the pre-shared key of {identity:?} is refused: {}", if *.known { "it is a wrong one" } else { "nobody has this identity" })]
    Psk { identity: Box<str>, known: bool },
    #[error("the handshake failed: {0}")]
    Handshake(Box<str>),
    #[error("the connection was lost during the handshake: {0}")]
    Lost(#[source] io::Error),
    #[error("the system's TLS library failed")]
    Library(#[source] ErrorStack),
}

/// The parts of an acceptor do not fit together, or the system's TLS library lacks something.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("TLS with pre-shared keys cannot be set up by the system's OpenSSL")]
    Openssl(#[from] ErrorStack),
}

impl AcceptError {
    /// The word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "handshake_timeout",
            Self::Closed | Self::Lost(_) => "closed",
            Self::NotTls => "not_tls",
            Self::HelloTooLarge { .. } => "hello_too_large",
            Self::Certificate { refusal, .. } => refusal.reason(),
            Self::Psk { .. } => "psk_refused",
            Self::Handshake(_) => "handshake_failed",
            Self::Library(_) => "internal",
        }
    }
}

impl Classify for AcceptError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout | Self::Closed | Self::Lost(_) => ErrorKind::Unavailable,
            Self::NotTls | Self::Handshake(_) => ErrorKind::Invalid,
            Self::HelloTooLarge { .. } => ErrorKind::TooLarge,
            Self::Certificate { .. } | Self::Psk { .. } => ErrorKind::Unauthenticated,
            Self::Library(_) => ErrorKind::Internal,
        }
    }
}

impl Classify for SetupError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

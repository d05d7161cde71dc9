//! What the hub shows to clients, and the rest of its side of a handshake by certificate.

use std::{fs, io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    compress::CompressionCache,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{Certificate, CertificateError, Now};

/// A certificate chain of the hub with its private key.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    certified: Arc<CertifiedKey>,
    /// The same as DER, for OpenSSL.
    key: Arc<PrivateKeyDer<'static>>,
    names: Vec<String>,
    certificate: Certificate,
}

/// All that the hub may show. Replaced as a whole, without a restart; connections that are open go on.
#[derive(Debug)]
pub struct ServerCertificates(ArcSwap<Vec<ServerCertificate>>);

impl ServerCertificate {
    /// Reads a chain, the hub's own certificate first, and its key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let certificate = Certificate::parse(chain)?;
        let mut ders = Vec::new();
        for der in CertificateDer::pem_slice_iter(chain) {
            ders.push(der.map_err(CertificateError::Key)?);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::Key)?;
        let der = Arc::new(key.clone_key());
        let certified = CertifiedKey::from_der(ders, key, &ring::default_provider()).map_err(CertificateError::Pair)?;
        let names = certificate.host_names();
        Ok(Self { certified: Arc::new(certified), key: der, names, certificate })
    }

    /// Reads both files. An error of the second kind means that they are there, but no use.
    pub fn read(chain: &Path, key: &Path) -> io::Result<Result<Self, CertificateError>> {
        Ok(Self::from_pem(&fs::read(chain)?, &fs::read(key)?))
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The chain and the private key, as DER.
    pub(crate) fn parts(&self) -> (&[CertificateDer<'static>], &[u8]) {
        (&self.certified.cert, self.key.secret_der())
    }

    fn is_for(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            // A star stands for one label (RFC 6125 §6.4.3).
            Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => name == host,
        })
    }
}

impl ServerCertificates {
    /// `default` goes to clients that name no host, or one that no other certificate has. `others` are looked at in their
    /// order, before the default. One of the same names with another kind of key is shown to clients that cannot use the
    /// first.
    pub fn new(default: ServerCertificate, others: impl IntoIterator<Item = ServerCertificate>) -> Self {
        Self(ArcSwap::from_pointee(others.into_iter().chain([default]).collect()))
    }

    /// What is shown now; the default is the last.
    pub(crate) fn current(&self) -> Arc<Vec<ServerCertificate>> {
        self.0.load_full()
    }

    /// What the next handshake shows.
    pub fn replace(&self, default: ServerCertificate, others: impl IntoIterator<Item = ServerCertificate>) {
        self.0.store(Arc::new(others.into_iter().chain([default]).collect()));
    }
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let all = self.0.load();
        let host = hello.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let usable = |own: &&ServerCertificate| own.certified.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = all.iter().filter(|own| host.as_deref().is_some_and(|host| own.is_for(host))).find(usable);
        named.or_else(|| all.iter().rev().find(usable)).or(all.last()).map(|own| Arc::clone(&own.certified))
    }
}

/// Makes the hub's side of a handshake. What many handshakes can share is made once.
#[derive(Debug)]
pub(crate) struct ServerSide {
    certificates: Arc<ServerCertificates>,
    provider: Arc<CryptoProvider>,
    now: Arc<Now>,
    alpn: Vec<Vec<u8>>,
    storage: Arc<NoServerSessionStorage>,
    compression: Arc<CompressionCache>,
}

impl ServerSide {
    pub(crate) fn new(
        certificates: Arc<ServerCertificates>,
        provider: Arc<CryptoProvider>,
        now: Now,
        alpn: Vec<Vec<u8>>,
    ) -> Self {
        Self {
            certificates,
            provider,
            now: Arc::new(now),
            alpn,
            storage: Arc::new(NoServerSessionStorage {}),
            compression: Arc::new(CompressionCache::Disabled),
        }
    }

    pub(crate) fn config(&self, verifier: Arc<dyn ClientCertVerifier>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_details(Arc::clone(&self.provider), self.now.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.certificates.clone());
        config.alpn_protocols.clone_from(&self.alpn);
        // Sessions are not resumed: see the head of the crate.
        config.session_storage = self.storage.clone();
        config.send_tls13_tickets = 0;
        // A compressed certificate of a client could unfold to far more than it may have.
        config.cert_decompressors = Vec::new();
        config.cert_compressors = Vec::new();
        config.cert_compression_cache = self.compression.clone();
        Ok(Arc::new(config))
    }
}

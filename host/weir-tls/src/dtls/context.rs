//! What all handshakes of a listener share.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use openssl::{
    error::ErrorStack,
    ex_data::Index,
    memcmp,
    pkey::PKey,
    rand,
    sha::Sha256,
    ssl::{
        Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode,
        SslVersion,
    },
    x509::{X509, X509StoreContext, X509StoreContextRef, X509VerifyResult},
};
use rustls::{crypto::ring, time_provider::TimeProvider};
use rustls_pki_types::{CertificateDer, UnixTime};
use weir_core::Fingerprint;

use super::{MAX_RECORD, MTU, ffi};
use crate::{
    AcceptError, Now, Peer, Proofs, SetupError, fingerprint_of,
    psk::{self, Claim},
    x509::{CertificatePeer, CertificateRefusal, ServerCertificate, ServerCertificates, Verifier},
};

/// Suites with certificates. Those of small devices first; what the client prefers counts.
const CERTIFICATE_SUITES: &str = "ECDHE-ECDSA-AES128-CCM8:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-GCM-SHA256:\
     ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256:\
     ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305";

/// Without SHA-1, whatever the library's level is.
const SIGNATURES: &str = "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:\
     RSA+SHA256:RSA+SHA384:RSA+SHA512";

const GROUPS: &str = "X25519:P-256:P-384";

/// Bytes of the secret that makes cookies.
const SECRET: usize = 32;

type Verdict = Result<CertificatePeer, (Fingerprint, CertificateRefusal)>;

/// Where a ClientHello comes from, for its cookie. Held for as long as an address takes to be copied.
pub(super) type From = Arc<Mutex<SocketAddr>>;

#[derive(Debug, Clone)]
pub struct DtlsOptions {
    /// Whether PSK suites with SHA-1 are served. The vendor's C SDK has no others.
    pub sha1_psk_suites: bool,
}

impl Default for DtlsOptions {
    fn default() -> Self {
        Self { sha1_psk_suites: true }
    }
}

/// One listener's way to accept. Cheap to clone.
#[derive(Clone)]
pub struct DtlsAcceptor(Arc<Inner>);

struct Inner {
    options: DtlsOptions,
    certificates: Arc<ServerCertificates>,
    proofs: Proofs,
    now: Now,
    indices: Indices,
    secret: [u8; SECRET],
    contexts: ArcSwap<Contexts>,
}

/// What handshakes of each kind begin with.
struct Contexts {
    /// The certificates that the second shows.
    shown: Arc<Vec<ServerCertificate>>,
    by_key: SslContext,
    by_certificate: SslContext,
}

/// By what a client means to prove itself. One that offers a suite of keys has a key; what else it offers is its
/// library's habit. The same as for TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Key,
    Certificate,
}

/// Where OpenSSL keeps for each handshake what only we understand.
#[derive(Clone, Copy)]
struct Indices {
    from: Index<Ssl, From>,
    claim: Index<Ssl, Claim>,
    verdict: Index<Ssl, OnceLock<Verdict>>,
}

impl DtlsAcceptor {
    pub fn new(
        options: DtlsOptions,
        certificates: Arc<ServerCertificates>,
        proofs: Proofs,
        now: Now,
    ) -> Result<Self, SetupError> {
        let mut secret = [0; SECRET];
        rand::rand_bytes(&mut secret)?;
        let indices =
            Indices { from: Ssl::new_ex_index()?, claim: Ssl::new_ex_index()?, verdict: Ssl::new_ex_index()? };
        let shown = certificates.current();
        let contexts = Contexts::make(&options, shown, &proofs, &now, indices, secret)?;
        let contexts = ArcSwap::from_pointee(contexts);
        Ok(Self(Arc::new(Inner { options, certificates, proofs, now, indices, secret, contexts })))
    }

    /// DTLS for one peer, with what the hub shows now.
    pub(super) fn connection(&self, from: From, means: Means) -> Result<Ssl, ErrorStack> {
        let inner = &self.0;
        let shown = inner.certificates.current();
        if !Arc::ptr_eq(&inner.contexts.load().shown, &shown) {
            let made = Contexts::make(&inner.options, shown, &inner.proofs, &inner.now, inner.indices, inner.secret)?;
            inner.contexts.store(Arc::new(made));
        }
        let contexts = inner.contexts.load();
        let mut ssl = Ssl::new(match means {
            Means::Key => &contexts.by_key,
            Means::Certificate => &contexts.by_certificate,
        })?;
        ssl.set_ex_data(inner.indices.from, from);
        ssl.set_ex_data(inner.indices.verdict, OnceLock::new());
        ssl.set_mtu(MTU)?;
        // Only the buffer is larger where it cannot be set.
        let _is_limited = ffi::limit_record(&ssl, MAX_RECORD);
        Ok(ssl)
    }

    /// Whom a finished handshake proved.
    pub(super) fn peer(&self, ssl: &SslRef) -> Result<Peer, AcceptError> {
        match (ssl.ex_data(self.0.indices.claim), self.verdict(ssl)) {
            (Some(claim), _) if claim.known => Ok(Peer::Psk { identity: claim.identity.clone() }),
            (Some(claim), _) => Err(AcceptError::Psk { identity: claim.identity.clone(), known: false }),
            (None, Some(Ok(peer))) => Ok(Peer::Certificate(peer)),
            (None, Some(Err((fingerprint, refusal)))) => Err(AcceptError::Certificate { fingerprint, refusal }),
            (None, None) => Err(AcceptError::Handshake("nothing was proved".into())),
        }
    }

    fn verdict(&self, ssl: &SslRef) -> Option<Verdict> {
        ssl.ex_data(self.0.indices.verdict)?.get().cloned()
    }

    /// Why a handshake failed, as far as it is known.
    pub(super) fn refusal(&self, ssl: &SslRef, reason: Option<String>) -> AcceptError {
        match (self.verdict(ssl), ssl.ex_data(self.0.indices.claim), reason) {
            (Some(Err((fingerprint, refusal))), ..) => AcceptError::Certificate { fingerprint, refusal },
            (_, Some(claim), _) => AcceptError::Psk { identity: claim.identity.clone(), known: claim.known },
            (_, None, Some(reason)) => AcceptError::Handshake(reason.into()),
            (_, None, None) => AcceptError::Closed,
        }
    }
}

impl fmt::Debug for DtlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsAcceptor").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Contexts {
    fn make(
        options: &DtlsOptions,
        shown: Arc<Vec<ServerCertificate>>,
        proofs: &Proofs,
        now: &Now,
        indices: Indices,
        secret: [u8; SECRET],
    ) -> Result<Self, ErrorStack> {
        let mut by_key = prepared(indices, secret)?;
        // Level 0, because from OpenSSL 3.2 on any other forbids CCM_8. The list holds what else is allowed.
        by_key.set_cipher_list(&format!("{}:@SECLEVEL=0", psk::suites(options.sha1_psk_suites)))?;
        if let Some(lookup) = &proofs.keys {
            psk::serve_keys(&mut by_key, Arc::clone(lookup), indices.claim);
        }
        let mut by_certificate = prepared(indices, secret)?;
        by_certificate.set_cipher_list(&format!("{CERTIFICATE_SUITES}:@SECLEVEL=0"))?;
        by_certificate.set_sigalgs_list(SIGNATURES)?;
        by_certificate.set_groups_list(GROUPS)?;
        if let (Some(trust), Some(own)) = (&proofs.certificates, shown.last()) {
            show(&mut by_certificate, own)?;
            let algorithms = ring::default_provider().signature_verification_algorithms;
            let (verifier, now) = (Verifier::new(Arc::clone(trust), algorithms), now.clone());
            let asked = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
            by_certificate.set_verify_callback(asked, move |_, shown| verify(&verifier, &now, shown, indices.verdict));
        }
        Ok(Self { shown, by_key: by_key.build(), by_certificate: by_certificate.build() })
    }
}

/// What both kinds have in common.
fn prepared(indices: Indices, secret: [u8; SECRET]) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::dtls_server())?;
    // Exactly this: DTLSv1_listen knows no other, and 1.0 is out of use (RFC 8996).
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_options(
        SslOptions::COOKIE_EXCHANGE
            | SslOptions::NO_QUERY_MTU
            | SslOptions::NO_TICKET
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_COMPRESSION,
    );
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_cookie_generate_cb(move |ssl, room| {
        let cookie = cookie(&secret, ssl, indices.from).ok_or_else(ErrorStack::get)?;
        let room = room.get_mut(..cookie.len()).ok_or_else(ErrorStack::get)?;
        room.copy_from_slice(&cookie);
        Ok(cookie.len())
    });
    builder.set_cookie_verify_cb(move |ssl, shown| {
        cookie(&secret, ssl, indices.from)
            .is_some_and(|cookie| cookie.len() == shown.len() && memcmp::eq(&cookie, shown))
    });
    Ok(builder)
}

/// The hub's own chain and key.
fn show(builder: &mut SslContextBuilder, own: &ServerCertificate) -> Result<(), ErrorStack> {
    let (chain, key) = own.parts();
    for (place, der) in chain.iter().enumerate() {
        let certificate = X509::from_der(der)?;
        match place {
            0 => builder.set_certificate(&certificate)?,
            _ => builder.add_extra_chain_cert(certificate)?,
        }
    }
    builder.set_private_key(&*PKey::private_key_from_der(key)?)
}

/// Asked by OpenSSL whenever it finds something wrong with a client's chain, which is always: it knows no authorities. The
/// one verdict is the same verifier's as for TLS, over the same bytes.
fn verify(
    verifier: &Verifier,
    now: &Now,
    shown: &mut X509StoreContextRef,
    index: Index<Ssl, OnceLock<Verdict>>,
) -> bool {
    let ssl = X509StoreContext::ssl_idx().ok().and_then(|ssl| shown.ex_data(ssl));
    let (Some(kept), Some(chain)) = (ssl.and_then(|ssl| ssl.ex_data(index)), shown.chain()) else { return false };
    let verdict = kept.get_or_init(|| {
        let ders: Vec<CertificateDer<'static>> =
            chain.iter().filter_map(|certificate| certificate.to_der().ok()).map(CertificateDer::from).collect();
        let Some((leaf, between)) = ders.split_first() else {
            return Err((Fingerprint::new([0; 32]), CertificateRefusal::Unusable("it is not there".to_owned())));
        };
        verifier
            .verify(leaf, between, now.current_time().unwrap_or_else(|| UnixTime::since_unix_epoch(Duration::MAX)))
            .map_err(|refusal| (fingerprint_of(leaf), refusal))
    });
    let refused = verdict.as_ref().err().map(|(_, refusal)| alert(refusal));
    match refused {
        None => true,
        Some(alert) => {
            shown.set_error(alert);
            false
        }
    }
}

/// The error of OpenSSL whose alert says it.
fn alert(refusal: &CertificateRefusal) -> X509VerifyResult {
    let name = match refusal {
        CertificateRefusal::Expired => 10,    // X509_V_ERR_CERT_HAS_EXPIRED
        CertificateRefusal::NotYetValid => 9, // X509_V_ERR_CERT_NOT_YET_VALID
        CertificateRefusal::UnknownAuthority | CertificateRefusal::AuthorityExpired => 20, // …UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        CertificateRefusal::Revoked => 23,                                                 // X509_V_ERR_CERT_REVOKED
        CertificateRefusal::NotForClients => 26,                                           // X509_V_ERR_INVALID_PURPOSE
        CertificateRefusal::NotPinned => 50, // X509_V_ERR_APPLICATION_VERIFICATION
        CertificateRefusal::NotVersion3 | CertificateRefusal::Unusable(_) => 28, // X509_V_ERR_CERT_REJECTED
    };
    ffi::verify_result(name)
}

/// What only who hears at this address can know. An address is a proof for as long as the process lives: what it protects
/// from is a flood from addresses that nobody has.
fn cookie(secret: &[u8; SECRET], ssl: &SslRef, from: Index<Ssl, From>) -> Option<[u8; 32]> {
    let address = *ssl.ex_data(from)?.lock().unwrap_or_else(PoisonError::into_inner);
    let mut inner = Sha256::new();
    inner.update(&pad(secret, 0x36));
    match address.ip() {
        IpAddr::V4(ip) => inner.update(&ip.octets()),
        IpAddr::V6(ip) => inner.update(&ip.octets()),
    }
    inner.update(&address.port().to_be_bytes());
    // HMAC (RFC 2104), of two messages that differ in length if they differ in kind.
    let mut outer = Sha256::new();
    outer.update(&pad(secret, 0x5c));
    outer.update(&inner.finish());
    Some(outer.finish())
}

fn pad(secret: &[u8; SECRET], with: u8) -> [u8; 64] {
    let mut block = [with; 64];
    block.iter_mut().zip(secret).for_each(|(byte, secret)| *byte ^= secret);
    block
}

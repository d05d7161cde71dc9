//! TLS with pre-shared keys, by the system's OpenSSL: no Rust library has these suites.
//!
//! The context has no certificate, so a client that cannot prove a key gets nowhere. An unknown identity is answered
//! as a wrong key is, with a random key in its place: a stranger does not learn which devices exist. The hub's own log
//! says which of the two it was.

use std::{fmt, sync::Arc};

use openssl::{
    error::ErrorStack,
    ex_data::Index,
    rand,
    ssl::{
        Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslRef, SslSessionCacheMode, SslVersion,
    },
};

/// Suites of TLS 1.2 that are served: number, OpenSSL's name, whether its MAC is SHA-1. The order has no meaning: what a
/// client prefers counts, because a small device knows best what it can afford.
const SUITES: [(u16, &str, bool); 16] = [
    (0xccac, "ECDHE-PSK-CHACHA20-POLY1305", false),
    (0xc037, "ECDHE-PSK-AES128-CBC-SHA256", false),
    (0xc038, "ECDHE-PSK-AES256-CBC-SHA384", false),
    (0xc035, "ECDHE-PSK-AES128-CBC-SHA", true),
    (0xc036, "ECDHE-PSK-AES256-CBC-SHA", true),
    (0x00a8, "PSK-AES128-GCM-SHA256", false),
    (0x00a9, "PSK-AES256-GCM-SHA384", false),
    (0xccab, "PSK-CHACHA20-POLY1305", false),
    (0xc0a4, "PSK-AES128-CCM", false),
    (0xc0a5, "PSK-AES256-CCM", false),
    (0xc0a8, "PSK-AES128-CCM8", false),
    (0xc0a9, "PSK-AES256-CCM8", false),
    (0x00ae, "PSK-AES128-CBC-SHA256", false),
    (0x00af, "PSK-AES256-CBC-SHA384", false),
    (0x008c, "PSK-AES128-CBC-SHA", true),
    (0x008d, "PSK-AES256-CBC-SHA", true),
];

/// An external key in TLS 1.3 is bound to SHA-256 unless the client says otherwise, which OpenSSL's callback cannot
/// hear; so no suite with SHA-384 is offered.
const SUITES_13: &str = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256";

/// Bytes of the random key that stands for an unknown identity.
const DECOY: usize = 32;

/// A key that a device and the hub share.
#[derive(Clone, PartialEq, Eq)]
pub struct PskKey(Vec<u8>);

/// Finds the key of an identity. Called once per handshake on a thread of the runtime, which must not wait long: a map
/// or one row of an embedded database, nothing over a network.
pub trait PskLookup: Send + Sync {
    fn key(&self, identity: &str) -> Option<PskKey>;
}

/// Whether a suite of TLS 1.2 proves itself by a pre-shared key and is served.
pub(crate) fn serves(suite: u16) -> bool {
    SUITES.iter().any(|(number, ..)| *number == suite)
}

/// Makes the TLS of each connection that comes with a pre-shared key.
pub(crate) struct PskContext {
    context: SslContext,
    claims: Index<Ssl, Claim>,
}

/// The identity that a client said it has.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) identity: Box<str>,
    pub(crate) known: bool,
}

/// OpenSSL's names of the suites that are served.
pub(crate) fn suites(with_sha1: bool) -> String {
    let names = SUITES.iter().filter(|(.., sha1)| with_sha1 || !sha1).map(|(_, name, _)| *name);
    names.collect::<Vec<_>>().join(":")
}

/// Lets clients prove themselves by the keys that `lookup` finds, and keeps at `claims` whom each claimed to be.
pub(crate) fn serve_keys(builder: &mut SslContextBuilder, lookup: Arc<dyn PskLookup>, claims: Index<Ssl, Claim>) {
    builder.set_psk_server_callback(move |ssl, identity, key| {
        let identity = std::str::from_utf8(identity.unwrap_or_default()).ok();
        let found = identity.and_then(|identity| lookup.key(identity)).filter(|PskKey(found)| !found.is_empty());
        let room = found.as_ref().and_then(|PskKey(found)| key.get_mut(..found.len()).map(|room| (room, found)));
        let known = room.is_some();
        let length = match room {
            Some((room, found)) => {
                room.copy_from_slice(found);
                found.len()
            }
            None => {
                let decoy = key.get_mut(..DECOY).unwrap_or_default();
                rand::rand_bytes(decoy)?;
                decoy.len()
            }
        };
        // Kept here, because OpenSSL forgets the identity in TLS 1.3.
        ssl.set_ex_data(claims, Claim { identity: identity.unwrap_or_default().into(), known });
        Ok(length)
    });
}

impl PskContext {
    pub(crate) fn new(lookup: Arc<dyn PskLookup>, sha1_suites: bool) -> Result<Self, ErrorStack> {
        let claims = Ssl::new_ex_index::<Claim>()?;
        let mut builder = SslContext::builder(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_ciphersuites(SUITES_13)?;
        // Level 0, because from OpenSSL 3.2 on any other forbids CCM_8. The list holds what else is allowed.
        builder.set_cipher_list(&format!("{}:@SECLEVEL=0", suites(sha1_suites)))?;
        builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_num_tickets(0)?;
        // An idle connection holds no record buffers.
        builder.set_mode(SslMode::RELEASE_BUFFERS | SslMode::ENABLE_PARTIAL_WRITE);
        serve_keys(&mut builder, lookup, claims);
        Ok(Self { context: builder.build(), claims })
    }

    /// TLS for one connection. `tls13` says whether the client offered its key for TLS 1.3 too: where it did not, a
    /// handshake of 1.3 could end only by certificate, and would fail.
    pub(crate) fn connection(&self, tls13: bool) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        if !tls13 {
            ssl.set_max_proto_version(Some(SslVersion::TLS1_2))?;
        }
        Ok(ssl)
    }

    /// Whom a client claimed to be, if the handshake came so far.
    pub(crate) fn claim<'a>(&self, ssl: &'a SslRef) -> Option<&'a Claim> {
        ssl.ex_data(self.claims)
    }
}

impl PskKey {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// 1 to 512 bytes. With any other length the identity counts as unknown.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for PskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PskKey(***)")
    }
}

impl fmt::Debug for PskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PskContext")
    }
}

impl<F: Fn(&str) -> Option<PskKey> + Send + Sync> PskLookup for F {
    fn key(&self, identity: &str) -> Option<PskKey> {
        self(identity)
    }
}

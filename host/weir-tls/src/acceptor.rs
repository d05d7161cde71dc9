//! From a TCP stream to an encrypted one, and to who is at its other end.

use std::{future::poll_fn, io, pin::Pin, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoClientAuth, danger::ClientCertVerifier},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_openssl::SslStream;

use crate::{
    AcceptError, Now, PskLookup, SetupError, TlsStream, Trust,
    prefixed::Prefixed,
    psk::PskContext,
    sniff::{self, Offer, Progress},
    x509::{CertificatePeer, ServerCertificates, ServerSide, Verifier, Witness, X509Stream},
};

/// Bytes to read at once while it is not known what they are. Nearly every ClientHello fits.
const FIRST_READ: usize = 2 * 1024;

/// How long a refused client may take to read why.
const PARTING: Duration = Duration::from_secs(1);

/// Bytes of a refused client that are read and thrown away, so that the reason is not lost in a reset.
const PARTING_BYTES: u64 = 64 * 1024;

/// Who is at the other end, as far as the handshake proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Nobody yet: it must show other credentials.
    Anonymous,
    Certificate(CertificatePeer),
    /// It has the key of this identity.
    Psk {
        identity: Box<str>,
    },
}

#[derive(Debug, Clone)]
pub struct AcceptorOptions {
    /// For everything from the first byte to the end of the handshake.
    pub handshake_timeout: Duration,
    /// Protocols that clients may choose by ALPN, most wanted first. Empty: ALPN is not looked at.
    pub alpn: Vec<Vec<u8>>,
    /// Whether PSK suites with SHA-1 are served. The vendor's C SDK has no others.
    pub sha1_psk_suites: bool,
}

/// By what clients may prove themselves. Without one kind, clients of that kind are refused or stay anonymous.
#[derive(Clone, Default)]
pub struct Proofs {
    pub certificates: Option<Arc<dyn Trust>>,
    pub keys: Option<Arc<dyn PskLookup>>,
}

/// One listener's way to accept. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handshake_timeout: Duration,
    server: ServerSide,
    /// For when no client certificate is asked for, and so nothing differs from one connection to the next.
    plain: Arc<ServerConfig>,
    verifier: Option<Arc<Verifier>>,
    psk: Option<PskContext>,
}

impl Default for AcceptorOptions {
    fn default() -> Self {
        Self { handshake_timeout: Duration::from_secs(10), alpn: Vec::new(), sha1_psk_suites: true }
    }
}

impl Acceptor {
    pub fn new(
        options: AcceptorOptions,
        certificates: Arc<ServerCertificates>,
        proofs: Proofs,
        now: Now,
    ) -> Result<Self, SetupError> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let server = ServerSide::new(certificates, provider, now, options.alpn);
        let plain = server.config(Arc::new(NoClientAuth))?;
        let verifier = proofs.certificates.map(|trust| Arc::new(Verifier::new(trust, algorithms)));
        let psk = match proofs.keys {
            Some(lookup) => Some(PskContext::new(lookup, options.sha1_psk_suites)?),
            None => None,
        };
        let handshake_timeout = options.handshake_timeout;
        Ok(Self(Arc::new(Inner { handshake_timeout, server, plain, verifier, psk })))
    }

    /// Does the handshake. Dropping the future drops the connection.
    pub async fn accept(&self, tcp: TcpStream) -> Result<(TlsStream, Peer), AcceptError> {
        // Boxed, because a task that serves the connection for long would keep the room that a handshake needs.
        match timeout(self.0.handshake_timeout, Box::pin(self.0.handshake(tcp))).await {
            Ok(Ok(accepted)) => Ok(accepted),
            Ok(Err(Refused { error, rest })) => {
                if let Some(mut rest) = rest {
                    Box::pin(part(rest.below())).await;
                }
                Err(error)
            }
            Err(_elapsed) => Err(AcceptError::Timeout),
        }
    }
}

/// A failed handshake, with the stream if the client should have time to read why.
struct Refused {
    error: AcceptError,
    rest: Option<Rest>,
}

enum Rest {
    Tcp(TcpStream),
    Openssl(SslStream<Prefixed>),
}

impl Inner {
    async fn handshake(&self, mut tcp: TcpStream) -> Result<(TlsStream, Peer), Refused> {
        let (head, offer) = read_hello(&mut tcp).await?;
        match &self.psk {
            Some(psk) if offer.is_psk() => by_key(psk, offer, Prefixed::new(head, tcp)).await,
            _ => self.by_certificate(head, tcp).await,
        }
    }

    async fn by_certificate(&self, head: Vec<u8>, tcp: TcpStream) -> Result<(TlsStream, Peer), Refused> {
        let witness = self.verifier.as_ref().map(|verifier| Arc::new(Witness::new(Arc::clone(verifier))));
        let config = match &witness {
            Some(witness) => {
                let verifier: Arc<dyn ClientCertVerifier> = witness.clone();
                self.server.config(verifier).map_err(|error| AcceptError::Handshake(error.to_string().into()))?
            }
            None => Arc::clone(&self.plain),
        };
        let stream = X509Stream::new(config, head, tcp);
        // Boxed, as it will be while it is served.
        let mut stream = Box::new(stream.map_err(|error| AcceptError::Handshake(error.to_string().into()))?);
        let accepted = poll_fn(|cx| stream.poll_handshake(cx)).await;
        let verdict = witness.and_then(|witness| witness.verdict());
        match (accepted, verdict) {
            (Ok(()), None) => Ok((TlsStream::rustls(stream), Peer::Anonymous)),
            (Ok(()), Some(Ok(peer))) => Ok((TlsStream::rustls(stream), Peer::Certificate(peer))),
            (Ok(()), Some(Err((fingerprint, refusal)))) => {
                Err(AcceptError::Certificate { fingerprint, refusal }.into())
            }
            (Err(_), Some(Err((fingerprint, refusal)))) => {
                let error = AcceptError::Certificate { fingerprint, refusal };
                Err(Refused { error, rest: Some(Rest::Tcp(stream.into_tcp())) })
            }
            (Err(error), _) => match error.kind() {
                io::ErrorKind::InvalidData => {
                    let error = AcceptError::Handshake(error.to_string().into());
                    Err(Refused { error, rest: Some(Rest::Tcp(stream.into_tcp())) })
                }
                _ => Err(lost(error).into()),
            },
        }
    }
}

async fn by_key(psk: &PskContext, offer: Offer, stream: Prefixed) -> Result<(TlsStream, Peer), Refused> {
    let ssl = psk.connection(offer.tls13).map_err(AcceptError::Library)?;
    let mut stream = SslStream::new(ssl, stream).map_err(AcceptError::Library)?;
    let accepted = Pin::new(&mut stream).accept().await;
    let claim = psk.claim(stream.ssl()).cloned();
    let error = match (accepted, claim) {
        (Ok(()), Some(claim)) if claim.known => {
            return Ok((TlsStream::openssl(stream), Peer::Psk { identity: claim.identity }));
        }
        (Ok(()), _) => AcceptError::Handshake("no key was used".into()),
        (Err(error), claim) => match (error.ssl_error().map(ToString::to_string), claim) {
            (Some(_), Some(claim)) => AcceptError::Psk { identity: claim.identity, known: claim.known },
            (Some(reason), None) => AcceptError::Handshake(reason.into()),
            (None, _) => return Err(error.into_io_error().map_or(AcceptError::Closed, lost).into()),
        },
    };
    Err(Refused { error, rest: Some(Rest::Openssl(stream)) })
}

/// Reads until the ClientHello is complete.
async fn read_hello(tcp: &mut TcpStream) -> Result<(Vec<u8>, Offer), AcceptError> {
    let mut head = Vec::with_capacity(FIRST_READ);
    let mut needed = 1;
    loop {
        while head.len() < needed {
            // Not more than the bound, however much is there.
            let room = (sniff::MAX_BYTES - head.len()) as u64;
            let read = (&mut *tcp).take(room).read_buf(&mut head).await.map_err(lost)?;
            if read == 0 {
                return Err(AcceptError::Closed);
            }
        }
        match sniff::inspect(&head) {
            Progress::Hello(offer) => return Ok((head, offer)),
            // Rustls says so with the right alert.
            Progress::Malformed => return Ok((head, Offer::default())),
            Progress::NotTls => return Err(AcceptError::NotTls),
            Progress::Need(bytes) if bytes > sniff::MAX_BYTES => {
                return Err(AcceptError::HelloTooLarge { limit: sniff::MAX_BYTES });
            }
            Progress::Need(bytes) => needed = bytes,
        }
    }
}

/// Lets a refused client read the alert: closing with bytes unread would reset the connection under it.
async fn part(stream: &mut TcpStream) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(PARTING_BYTES);
        // Whether it reads or leaves makes no difference any more.
        let _parted = timeout(PARTING, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

fn lost(error: io::Error) -> AcceptError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            AcceptError::Closed
        }
        _ => AcceptError::Lost(error),
    }
}

impl From<AcceptError> for Refused {
    fn from(error: AcceptError) -> Self {
        Self { error, rest: None }
    }
}

impl Rest {
    fn below(&mut self) -> &mut TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Openssl(stream) => stream.get_mut().tcp_mut(),
        }
    }
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proofs").field("certificates", &self.certificates).field("keys", &self.keys.is_some()).finish()
    }
}

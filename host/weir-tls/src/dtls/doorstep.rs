//! Strangers' first messages: a cookie for each, and a session for whoever brings it back.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use openssl::{error::ErrorStack, ssl::SslStream};

use super::{
    Datagrams, DtlsAcceptor, DtlsSession,
    context::{self, Means},
    ffi::{self, Listened},
};
use crate::psk::serves;

/// Bytes of a record's header, and of a handshake message's (RFC 6347 §4.1, §4.2.2).
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;

/// What came of a stranger's datagram.
#[derive(Debug)]
pub enum Knock {
    /// To be sent back. Nothing is kept.
    Answer(Vec<u8>),
    /// The cookie is good: the handshake goes on with this.
    Session(Box<DtlsSession>),
    /// Not a ClientHello, or one that cannot be used.
    Nothing,
}

/// Answers strangers. It holds the handshakes, one of each kind, that each of them uses until one is believed.
pub struct Doorstep {
    acceptor: DtlsAcceptor,
    by_key: Option<Scratch>,
    by_certificate: Option<Scratch>,
}

struct Scratch {
    stream: SslStream<Datagrams>,
    from: context::From,
}

impl Doorstep {
    pub fn new(acceptor: DtlsAcceptor) -> Self {
        Self { acceptor, by_key: None, by_certificate: None }
    }

    /// An error is one of the library or of the hub's certificate.
    pub fn knock(&mut self, datagram: &[u8], from: SocketAddr) -> Result<Knock, ErrorStack> {
        if hello_random(datagram).is_none() {
            return Ok(Knock::Nothing);
        }
        let means = if offers_key(datagram) { Means::Key } else { Means::Certificate };
        let mut scratch = match self.held(means).take() {
            Some(scratch) => scratch,
            None => self.scratch(means)?,
        };
        *scratch.from.lock().unwrap_or_else(PoisonError::into_inner) = from;
        let datagrams = scratch.stream.get_mut();
        datagrams.incoming.clear();
        datagrams.outgoing.clear();
        datagrams.put(datagram.to_vec());
        match ffi::listen(scratch.stream.ssl()) {
            Listened::Verified => Ok(Knock::Session(Box::new(DtlsSession::new(self.acceptor.clone(), scratch.stream)))),
            Listened::Again => {
                let answer = scratch.stream.get_mut().outgoing.pop_front();
                *self.held(means) = Some(scratch);
                Ok(answer.map_or(Knock::Nothing, Knock::Answer))
            }
            // It may be in any state, so the next stranger has another one.
            Listened::Failed => {
                let _what_it_was = ErrorStack::get();
                Ok(Knock::Nothing)
            }
        }
    }

    fn held(&mut self, means: Means) -> &mut Option<Scratch> {
        match means {
            Means::Key => &mut self.by_key,
            Means::Certificate => &mut self.by_certificate,
        }
    }

    fn scratch(&self, means: Means) -> Result<Scratch, ErrorStack> {
        let from = Arc::new(Mutex::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))));
        let ssl = self.acceptor.connection(Arc::clone(&from), means)?;
        Ok(Scratch { stream: SslStream::new(ssl, Datagrams::default())?, from })
    }
}

impl std::fmt::Debug for Doorstep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorstep").field("acceptor", &self.acceptor).finish_non_exhaustive()
    }
}

/// The random bytes of a ClientHello that begins a handshake: those of one that is sent again are the same. `None`: the
/// datagram begins with something else, or is encrypted.
pub fn hello_random(datagram: &[u8]) -> Option<[u8; 32]> {
    let epoch = datagram.get(3..5)?;
    let is_handshake = datagram.first() == Some(&22) && epoch == [0, 0];
    let is_hello = datagram.get(RECORD_HEADER) == Some(&1);
    let random = datagram.get(RECORD_HEADER + MESSAGE_HEADER + 2..)?.first_chunk::<32>();
    random.copied().filter(|_| is_handshake && is_hello)
}

/// Whether a ClientHello offers a suite of pre-shared keys that is served.
fn offers_key(hello: &[u8]) -> bool {
    let suites = || {
        let rest = hello.get(RECORD_HEADER + MESSAGE_HEADER + 2 + 32..)?;
        // The session's identifier, and the cookie.
        let (length, rest) = rest.split_first()?;
        let (length, rest) = rest.get(usize::from(*length)..)?.split_first()?;
        let (length, rest) = rest.get(usize::from(*length)..)?.split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_be_bytes(*length)))
    };
    suites().is_some_and(|suites| suites.as_chunks::<2>().0.iter().any(|suite| serves(u16::from_be_bytes(*suite))))
}

//! One peer's DTLS: datagrams in and out, and what is in them.

use std::time::{Duration, Instant};

use openssl::{
    error::ErrorStack,
    ssl::{ErrorCode, SslStream},
};

use super::{Datagrams, DtlsAcceptor, ffi};
use crate::{AcceptError, Peer};

/// Bytes of one record's content.
const RECORD: usize = 4_096;

/// A peer that has shown that it hears at its address. Who it is turns out when the handshake ends.
pub struct DtlsSession {
    acceptor: DtlsAcceptor,
    stream: SslStream<Datagrams>,
    state: State,
    /// When the last flight is to be sent again.
    due: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Handshake,
    Established(Peer),
    Failed(AcceptError),
    Closed,
}

impl DtlsSession {
    pub(super) fn new(acceptor: DtlsAcceptor, stream: SslStream<Datagrams>) -> Self {
        let mut session = Self { acceptor, stream, state: State::Handshake, due: None };
        session.shake();
        session
    }

    /// Who it is, when the handshake has ended well.
    pub fn peer(&self) -> Option<&Peer> {
        match &self.state {
            State::Established(peer) => Some(peer),
            _ => None,
        }
    }

    /// Why the handshake failed, if it did; said once.
    pub fn failure(&mut self) -> Option<AcceptError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Failed(error) => Some(error),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Why a handshake that has not ended has not, for whoever gives it up.
    pub fn give_up(&mut self) -> AcceptError {
        self.state = State::Closed;
        match self.acceptor.refusal(self.stream.ssl(), None) {
            AcceptError::Closed => AcceptError::Timeout,
            refusal => refusal,
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed | State::Failed(_))
    }

    /// Takes a datagram of the peer, and gives what is in it.
    pub fn receive(&mut self, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        self.stream.get_mut().put(datagram);
        if matches!(self.state, State::Handshake) {
            self.shake();
        }
        let mut contents = Vec::new();
        while matches!(self.state, State::Established(_)) {
            let mut buffer = [0; RECORD];
            match self.stream.ssl_read(&mut buffer) {
                Ok(length) => contents.extend(buffer.get(..length).map(<[u8]>::to_vec)),
                Err(error) if error.code() == ErrorCode::WANT_READ => break,
                // It said that it goes, or what it sent cannot be survived.
                Err(_) => self.state = State::Closed,
            }
        }
        self.rest();
        contents
    }

    /// Encrypts one datagram.
    pub fn send(&mut self, content: &[u8]) {
        if matches!(self.state, State::Established(_)) && ffi::alloc_buffers(self.stream.ssl()) {
            if self.stream.ssl_write(content).is_err() {
                self.state = State::Closed;
            }
            self.rest();
        }
    }

    /// The next datagram to send.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().outgoing.pop_front()
    }

    /// When [`DtlsSession::elapsed`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    pub fn elapsed(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            if ffi::alloc_buffers(self.stream.ssl()) && ffi::handle_timeout(self.stream.ssl()) {
                self.fail(None);
            }
            self.remember_timer();
            // Its clock is another one and may be a little behind.
            self.due = self.due.map(|due| due.max(now + Duration::from_millis(10)));
        }
    }

    /// Tells the peer that it ends.
    pub fn close(&mut self) {
        if matches!(self.state, State::Established(_)) && ffi::alloc_buffers(self.stream.ssl()) {
            // A peer that is gone needs not hear it.
            let _told = self.stream.shutdown();
            self.state = State::Closed;
        }
    }

    fn shake(&mut self) {
        match self.stream.accept() {
            Ok(()) => match self.acceptor.peer(self.stream.ssl()) {
                Ok(peer) => self.state = State::Established(peer),
                Err(error) => self.state = State::Failed(error),
            },
            Err(error) if error.code() == ErrorCode::WANT_READ => {}
            Err(error) => self.fail(error.ssl_error().map(ToString::to_string)),
        }
        self.remember_timer();
        self.rest();
    }

    fn fail(&mut self, reason: Option<String>) {
        let error = self.acceptor.refusal(self.stream.ssl(), reason);
        self.state = State::Failed(error);
        self.due = None;
    }

    fn remember_timer(&mut self) {
        self.due = match self.state {
            State::Handshake => ffi::timeout(self.stream.ssl()).map(|left| Instant::now() + left),
            _ => None,
        };
    }

    /// Keeps no buffers for a peer that says nothing, and no errors for the next that uses this thread.
    fn rest(&self) {
        let _handled = ErrorStack::get();
        if !matches!(self.state, State::Handshake) {
            ffi::free_buffers(self.stream.ssl());
        }
    }
}

impl std::fmt::Debug for DtlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsSession").field("state", &self.state).finish_non_exhaustive()
    }
}

//! DTLS 1.2 by the system's OpenSSL: pre-shared keys and certificates on one port, and nothing kept of a peer that has not
//! shown that it hears where it says it is.
//!
//! [`Doorstep`] answers each ClientHello by a cookie (RFC 6347 §4.2.1) until one comes back; then there is a
//! [`DtlsSession`], a state machine that takes and gives datagrams. Both do no I/O. Who is let in is the same as for TLS: the
//! same keys, and the same verification of certificates.
//!
//! A wrong key cannot be answered: the peer's last message is then a record that does not decrypt, and such records are
//! passed over (RFC 6347 §4.1.2.7). Its handshake ends by time.

mod client;
mod context;
mod doorstep;
mod ffi;
mod session;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
};

pub use client::DtlsClient;
pub use context::{DtlsAcceptor, DtlsOptions};
pub use doorstep::{Doorstep, Knock, hello_random};
pub use session::DtlsSession;

/// Bytes of a datagram that fits everywhere (IPv6's smallest MTU): handshakes are cut to it.
const MTU: u32 = 1_280;

/// Bytes of one record that is sent.
const MAX_RECORD: i64 = 4_096;

/// Datagrams that a peer may have waiting inside.
const QUEUED: usize = 16;

/// Datagrams on their way in and out, in the place of a socket.
#[derive(Debug, Default)]
struct Datagrams {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Datagrams {
    fn put(&mut self, datagram: Vec<u8>) {
        if self.incoming.len() < QUEUED {
            self.incoming.push_back(datagram);
        }
    }
}

impl Read for Datagrams {
    /// One datagram; what does not fit is lost, as with a socket.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let length = datagram.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), datagram.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }
}

impl Write for Datagrams {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outgoing.push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

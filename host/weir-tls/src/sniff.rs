//! Reads a ClientHello far enough to tell whether the client will prove itself by a pre-shared key or by certificate.
//!
//! Pure: bytes in, an answer out, for any bytes. It checks only what it reads. A ClientHello that is broken elsewhere,
//! or makes no sense, goes to the library that will refuse it with the proper alert.

use crate::psk;

#[cfg(test)]
mod tests;

/// Bytes of the stream in which a ClientHello must be complete. Those of real clients, with post-quantum key shares,
/// have less than 2 KiB.
pub const MAX_BYTES: usize = 16 * 1024;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 5;
const MAX_RECORD: usize = 16 * 1024;
const PRE_SHARED_KEY: u16 = 41;

/// What the first bytes of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not decided before the stream has this many bytes. It may be more than [`MAX_BYTES`].
    Need(usize),
    Hello(Offer),
    /// TLS, but no ClientHello that can be read.
    Malformed,
    NotTls,
}

/// How a client offers to prove itself with a key that both sides know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// By one of the suites of TLS 1.2 that the hub serves.
    pub tls12: bool,
    /// By an external key in TLS 1.3.
    pub tls13: bool,
}

impl Offer {
    /// A library offers PSK only if it was given a key, so a client that offers both kinds means PSK.
    pub fn is_psk(self) -> bool {
        self.tls12 || self.tls13
    }
}

/// Looks at the first bytes of a stream.
pub fn inspect(stream: &[u8]) -> Progress {
    let mut message = Vec::new();
    let mut rest = stream;
    // A ClientHello may be cut into several records, and records into several reads.
    loop {
        let read = stream.len() - rest.len();
        match rest {
            [HANDSHAKE_RECORD, 3, _, high, low, body @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if !(1..=MAX_RECORD).contains(&length) {
                    return Progress::Malformed;
                }
                let Some((fragment, next)) = body.split_at_checked(length) else {
                    return Progress::Need(read + RECORD_HEADER + length);
                };
                message.extend_from_slice(fragment);
                rest = next;
            }
            [] | [HANDSHAKE_RECORD] | [HANDSHAKE_RECORD, 3, ..] => return Progress::Need(read + RECORD_HEADER),
            _ if read == 0 => return Progress::NotTls,
            _ => return Progress::Malformed,
        }
        let [kind, a, b, c, body @ ..] = message.as_slice() else { continue };
        if *kind != CLIENT_HELLO {
            return Progress::Malformed;
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if length > MAX_BYTES {
            return Progress::Need(length);
        }
        if let Some(hello) = body.get(..length) {
            return read_offer(hello).map_or(Progress::Malformed, Progress::Hello);
        }
    }
}

/// Struct ClientHello of RFC 5246 §7.4.1.2 and RFC 8446 §4.1.2, which have the same layout.
fn read_offer(hello: &[u8]) -> Option<Offer> {
    let mut fields = Fields(hello);
    let _version_and_random = fields.take(2 + 32)?;
    let _session_id = fields.short()?;
    let suites = fields.long()?;
    let _compression = fields.short()?;
    let (suites, _odd) = suites.as_chunks::<2>();
    let mut offer = Offer { tls12: suites.iter().any(|suite| psk::serves(u16::from_be_bytes(*suite))), tls13: false };
    if fields.0.is_empty() {
        return Some(offer); // Extensions are optional in TLS 1.2.
    }
    let mut extensions = Fields(fields.long()?);
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let body = extensions.long()?;
        if kind == PRE_SHARED_KEY {
            offer.tls13 = has_external_key(body)?;
        }
    }
    Some(offer)
}

/// Struct OfferedPsks of RFC 8446 §4.2.11. Keys that were agreed on elsewhere have the ticket age 0; others are tickets
/// of a server that was at this address before, as the hub gives none.
fn has_external_key(body: &[u8]) -> Option<bool> {
    let mut identities = Fields(Fields(body).long()?);
    let mut external = false;
    while !identities.0.is_empty() {
        let _identity = identities.long()?;
        external |= identities.take(4)? == [0; 4];
    }
    Some(external)
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    fn number(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    /// A field with its length in one byte.
    fn short(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        self.0 = rest;
        self.take(usize::from(*length))
    }

    /// A field with its length in two bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::from(length))
    }
}

//! Certificates as the rest of the hub knows them: how they are named, and what a connection rests on that came by one.
//!
//! Reading and verifying them is `weir-tls`'s.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{Classify, DeviceId, ErrorKind, ProductId};

/// SHA-256 of a certificate's DER. Written as 64 hex digits; read with or without colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// The number of a certificate, unique for its authority, without leading zeros. Written in hex as `openssl` does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Box<[u8]>);

/// Why a certificate is believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Voucher {
    /// The hub's own authority signed it.
    Hub,
    /// The authority that this product registered signed it.
    Product(ProductId),
    /// It is pinned.
    Pin,
}

/// A certificate that proved a device, and all that must stay true for it to go on proving it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateIdentity {
    pub device: DeviceId,
    pub fingerprint: Fingerprint,
    pub voucher: Voucher,
    /// The hash of its authority's name and key; `None` if it is pinned.
    pub anchor: Option<Fingerprint>,
    /// The certificates between it and the authority.
    pub between: Box<[Fingerprint]>,
}

/// Text that is not a fingerprint or a serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct InvalidHex {
    what: &'static str,
    text: String,
}

impl Fingerprint {
    /// From the hash itself.
    pub fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Serial {
    pub fn new(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes.iter().skip(zeros).copied().collect())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        let what = "a SHA-256 fingerprint: write 64 hex digits (openssl x509 -in FILE -noout -fingerprint -sha256)";
        let bytes = hex(text, what)?;
        bytes.try_into().map(Self).map_err(|_| InvalidHex::new(what, text))
    }
}

impl FromStr for Serial {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        let what = "a serial number: write 1 to 40 hex digits (openssl x509 -in FILE -noout -serial)";
        let even = if text.len() % 2 == 1 && !text.contains(':') { format!("0{text}") } else { text.to_owned() };
        match hex(&even, what)? {
            bytes if (1..=20).contains(&bytes.len()) => Ok(Self::new(&bytes)),
            _ => Err(InvalidHex::new(what, text)),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("00");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl InvalidHex {
    fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: text.chars().take(100).collect() }
    }
}

impl Classify for InvalidHex {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

fn hex(text: &str, what: &'static str) -> Result<Vec<u8>, InvalidHex> {
    let digits: Option<Vec<u8>> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    match digits.as_deref().map(|digits| digits.as_chunks::<2>()) {
        Some((pairs, [])) => Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect()),
        _ => Err(InvalidHex::new(what, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_openssl_prints_them() {
        let fingerprint = Fingerprint::new([0xa7; 32]);
        let plain = fingerprint.to_string();
        let pairs: Vec<String> = plain.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into()).collect();
        assert_eq!(plain.parse(), Ok(fingerprint));
        assert_eq!(pairs.join(":").to_uppercase().parse(), Ok(fingerprint));
        for wrong in ["", "12", &plain[1..], "zz"] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn serials_compare_as_numbers() {
        let check = |text: &str, printed: &str| assert_eq!(text.parse::<Serial>().unwrap().to_string(), printed);
        check("1", "01");
        check("0001", "01");
        check("00", "00");
        check("a:bc".replace(':', "").as_str(), "0ABC");
        assert_eq!(Serial::new(&[0, 0x8f]), "8F".parse().unwrap());
        assert!("".parse::<Serial>().is_err());
    }
}

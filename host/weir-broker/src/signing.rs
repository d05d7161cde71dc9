//! Signatures by a shared secret, as the vendor's devices make them: to connect, to register, and to be bound to a gateway.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningMethod {
    HmacSha1,
    HmacSha256,
}

impl SigningMethod {
    /// By the name that the vendor has for it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "hmacsha1" => Some(Self::HmacSha1),
            "hmacsha256" => Some(Self::HmacSha256),
            _ => None,
        }
    }

    /// Whether `signature` is that of `text` under `key`. Compares in constant time.
    pub(crate) fn verifies(self, key: &[u8], text: &str, signature: &[u8]) -> bool {
        match self {
            Self::HmacSha1 => Hmac::<Sha1>::new_from_slice(key)
                .is_ok_and(|mac| mac.chain_update(text).verify_slice(signature).is_ok()),
            Self::HmacSha256 => Hmac::<Sha256>::new_from_slice(key)
                .is_ok_and(|mac| mac.chain_update(text).verify_slice(signature).is_ok()),
        }
    }
}

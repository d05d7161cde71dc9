//! Secrets that the hub hands out once and knows again by their hash.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::StoreError;

/// 32 random bytes as base64url without padding. Random enough that a plain hash cannot be turned round.
pub(crate) fn generate() -> Result<String, StoreError> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Failed(format!("no random numbers: {error}")))?;
    Ok(bytes)
}

pub(crate) fn hash(plaintext: &str) -> [u8; 32] {
    Sha256::digest(plaintext.as_bytes()).into()
}

/// Takes the same time wherever the two differ.
pub(crate) fn same(hash: &[u8; 32], stored: &[u8]) -> bool {
    hash.as_slice().ct_eq(stored).into()
}

//! The signature by which a receiver knows the hub (vendor protocol §5.4).

use sha1::{Digest, Sha1};

/// Characters of a nonce.
const NONCE: usize = 16;

/// Lower-case hex SHA-1 of token, timestamp (seconds) and nonce, sorted as text and joined.
pub(super) fn signature(token: &str, timestamp: &str, nonce: &str) -> String {
    let mut parts = [token, timestamp, nonce];
    parts.sort_unstable();
    let digest = Sha1::digest(parts.concat().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn nonce() -> Result<String, getrandom::Error> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = [0; NONCE];
    getrandom::fill(&mut bytes)?;
    // The slight preference of `%` does not matter: a nonce need only be new.
    let letter = |byte: &u8| LETTERS.get(usize::from(*byte) % LETTERS.len()).copied().map(char::from);
    Ok(bytes.iter().filter_map(letter).collect())
}

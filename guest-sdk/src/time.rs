//! The hub's clock, and random bytes.

/// Milliseconds since 1970 in UTC.
pub fn now() -> i64 {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::weir::plugin::clock::now();
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::now()
}

/// Nanoseconds since some time; never less than before.
pub fn monotonic() -> u64 {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::weir::plugin::clock::monotonic();
    #[cfg(not(target_arch = "wasm32"))]
    u64::try_from(crate::testing::now()).unwrap_or_default().saturating_mul(1_000_000)
}

/// Random bytes, at most 64 KiB. Natively they are always the same, so that tests are.
pub fn random(count: u32) -> Vec<u8> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::weir::plugin::random::bytes(count);
    #[cfg(not(target_arch = "wasm32"))]
    (0..count).map(|index| (index as u8).wrapping_mul(151).wrapping_add(43)).collect()
}

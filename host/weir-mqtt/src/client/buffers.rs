//! Buffers that connections borrow while they read or write. Each thread keeps a few, so that a thousand idle
//! connections share what one busy connection needs.

use std::cell::RefCell;

/// Bytes read or written at once.
pub(super) const CHUNK: usize = 64 * 1024;

/// Buffers that a thread keeps.
const KEPT: usize = 8;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for a [`CHUNK`].
pub(super) fn take() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(CHUNK))
}

/// Takes a buffer back, or frees it if it has another size or there are enough.
pub(super) fn give(mut buffer: Vec<u8>) {
    if (CHUNK..2 * CHUNK).contains(&buffer.capacity()) {
        buffer.clear();
        FREE.with_borrow_mut(|free| {
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

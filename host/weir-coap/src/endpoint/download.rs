//! Bodies of responses that are read in blocks (RFC 7959 §2.4). A body is kept as it was when its first block was sent, so
//! that all blocks are of one.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Key, Response};
use crate::{
    codec::{block::Block, option},
    codes::Code,
};

/// Bodies of one peer that are kept. Beyond it the oldest is forgotten.
const REPRESENTATIONS: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Representations(Vec<Representation>);

/// A body in a certain state.
#[derive(Debug, Clone)]
pub(super) struct Representation {
    pub(super) key: Key,
    pub(super) code: Code,
    pub(super) options: Vec<(u16, Vec<u8>)>,
    pub(super) body: Bytes,
}

impl Representations {
    pub(super) fn find(&self, key: &Key) -> Option<&Representation> {
        self.0.iter().find(|known| known.key == *key)
    }

    pub(super) fn keep(&mut self, representation: Representation) {
        self.0.retain(|known| known.key != representation.key);
        if self.0.len() >= REPRESENTATIONS {
            self.0.remove(0);
        }
        self.0.push(representation);
    }
}

impl Representation {
    /// One block, in a size that is not above the wanted one or `exponent`; and whether it is the last.
    pub(super) fn slice(&self, wanted: Block, exponent: u8) -> (Response, bool) {
        // With a smaller size the place in bytes stays, and its number grows.
        let smaller = wanted.exponent.saturating_sub(exponent);
        let block = Block { number: wanted.number << smaller, more: false, exponent: wanted.exponent.min(exponent) };
        let (start, end) = (block.start(), (block.start() + block.size()).min(self.body.len()));
        if start >= self.body.len() && block.number > 0 {
            return (Response::of(Code::BAD_REQUEST), false);
        }
        let more = end < self.body.len();
        let mut response =
            Response { code: self.code, options: self.options.clone(), payload: self.body.slice(start..end) };
        response.options.push((option::ETAG, etag(&self.body)));
        response.options.push((option::BLOCK2, Block { more, ..block }.write()));
        if block.number == 0 {
            response.options.push((option::SIZE2, option::of_uint(u32::try_from(self.body.len()).unwrap_or(u32::MAX))));
        }
        (response, !more)
    }
}

/// Tells the states of a resource apart.
pub(super) fn etag(body: &[u8]) -> Vec<u8> {
    Sha256::digest(body).iter().copied().take(8).collect()
}

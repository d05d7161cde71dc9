//! Bodies of requests that come in blocks (RFC 7959 §2.5): in order, from the first, and none longer than it may be.

use std::time::{Duration, Instant};

use super::{EndpointLimits, Key, Response};
use crate::{
    codec::{Message, block::Block, option},
    codes::Code,
};

/// Bodies of one peer that are being sent. Beyond it the one that waited longest is forgotten.
const UPLOADS: usize = 2;

/// How long the next block may take.
const PATIENCE: Duration = Duration::from_secs(247);

#[derive(Debug, Default)]
pub(super) struct Uploads(Vec<Upload>);

#[derive(Debug)]
struct Upload {
    key: Key,
    body: Vec<u8>,
    touched: Instant,
}

pub(super) enum Progress {
    /// The last block came.
    Whole(Vec<u8>),
    /// The block was taken; this is what to answer.
    Continue(Block),
    Refused(Response),
}

impl Uploads {
    pub(super) fn take(
        &mut self,
        key: &Key,
        block: Block,
        message: &Message,
        limits: &EndpointLimits,
        now: Instant,
    ) -> Progress {
        let refused = |code| Progress::Refused(Response::of(code).with(option::BLOCK1, block.write()));
        let payload = &message.payload;
        if payload.len() > block.size() || block.more && payload.len() != block.size() {
            return refused(Code::BAD_REQUEST);
        }
        let found = self.0.iter().position(|upload| upload.key == *key);
        let announced = message.first(option::SIZE1).and_then(option::uint).unwrap_or(0) as usize;
        if announced.max(block.start().saturating_add(payload.len())) > limits.body {
            if let Some(index) = found {
                self.0.remove(index);
            }
            let limit = option::of_uint(u32::try_from(limits.body).unwrap_or(u32::MAX));
            let too_large = Response::of(Code::TOO_LARGE).with(option::BLOCK1, block.write());
            return Progress::Refused(too_large.with(option::SIZE1, limit));
        }
        let index = match (block.number, found) {
            // The first block begins anew, whatever came before.
            (0, found) => {
                if let Some(index) = found {
                    self.0.remove(index);
                }
                if !block.more {
                    return Progress::Whole(payload.clone());
                }
                if self.0.len() >= UPLOADS {
                    self.0.remove(0);
                }
                self.0.push(Upload { key: key.clone(), body: Vec::new(), touched: now });
                self.0.len() - 1
            }
            (_, Some(index)) => index,
            (_, None) => return refused(Code::INCOMPLETE),
        };
        let Some(upload) = self.0.get_mut(index) else { return refused(Code::INCOMPLETE) };
        upload.touched = now;
        let (start, end) = (block.start(), block.start() + payload.len());
        if start == upload.body.len() {
            upload.body.extend_from_slice(payload);
        } else if upload.body.get(start..end) != Some(payload) {
            // Neither the next block nor one that is there already.
            return refused(Code::INCOMPLETE);
        }
        if block.more {
            // A smaller block may be asked for (RFC 7959 §2.3); the place in bytes stays.
            return Progress::Continue(Block { more: true, exponent: block.exponent.min(limits.block), ..block });
        }
        if end == upload.body.len() {
            return Progress::Whole(self.0.remove(index).body);
        }
        refused(Code::INCOMPLETE)
    }

    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|upload| now.saturating_duration_since(upload.touched) < PATIENCE);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|upload| upload.touched + PATIENCE).min()
    }
}

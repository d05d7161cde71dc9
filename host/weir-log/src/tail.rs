//! The newest frames, decoded, for the readers at the head: they share what the writer made.

use std::{collections::VecDeque, sync::Arc};

use weir_core::Offset;

use crate::Frame;

/// Frames that are kept at most. When each has a record or two, they take far more memory than their records, and readers
/// at the head need few of them.
const MAX_FRAMES: usize = 256;

#[derive(Debug)]
pub(crate) struct Tail {
    frames: VecDeque<(Arc<Frame>, usize)>,
    bytes: usize,
    /// Bytes beyond which the oldest frames go. The newest one stays whatever its size.
    bound: usize,
    /// All records at this offset or after are here.
    from: Offset,
}

impl Tail {
    /// A tail that begins at `end`, one past the last record of the log.
    pub(crate) fn new(end: Offset, bound: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, bound, from: end }
    }

    pub(crate) fn push(&mut self, frame: Arc<Frame>) {
        let bytes = frame.memory();
        self.bytes += bytes;
        self.frames.push_back((frame, bytes));
        while (self.bytes > self.bound && self.frames.len() > 1) || self.frames.len() > MAX_FRAMES {
            let Some((oldest, bytes)) = self.frames.pop_front() else { break };
            self.bytes -= bytes;
            self.from = oldest.next;
        }
    }

    /// The frame with the first record at or after `position`. `None` if that may be older than the tail.
    pub(crate) fn find(&self, position: Offset) -> Option<Arc<Frame>> {
        if position < self.from {
            return None;
        }
        let found = self.frames.partition_point(|(frame, _)| frame.next <= position);
        self.frames.get(found).map(|(frame, _)| Arc::clone(frame))
    }
}

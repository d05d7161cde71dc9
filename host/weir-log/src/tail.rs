//! The newest frames, decoded, for the readers at the head: they share what the writer made.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use weir_core::Offset;

use crate::Frame;

/// How long frames are kept. With a record or two in each they take far more memory than their records, and
/// a reader that is further behind reads the disk.
const MAX_AGE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Held {
    frame: Arc<Frame>,
    bytes: usize,
    since: Instant,
}

#[derive(Debug)]
pub(crate) struct Tail {
    frames: VecDeque<Held>,
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
        self.frames.push_back(Held { frame, bytes, since: Instant::now() });
        while self.bytes > self.bound && self.frames.len() > 1 {
            self.forget_oldest();
        }
    }

    /// Lets go of the frames that are too old at `now`.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        while self.frames.front().is_some_and(|oldest| now.duration_since(oldest.since) > MAX_AGE) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.frames.pop_front() {
            self.bytes -= oldest.bytes;
            self.from = oldest.frame.next;
        }
    }

    /// The frame with the first record at or after `position`. `None` if that may be older than the tail.
    pub(crate) fn find(&self, position: Offset) -> Option<Arc<Frame>> {
        if position < self.from {
            return None;
        }
        let found = self.frames.partition_point(|held| held.frame.next <= position);
        self.frames.get(found).map(|held| Arc::clone(&held.frame))
    }
}

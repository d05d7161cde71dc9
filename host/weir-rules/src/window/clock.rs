//! A watermark, and the windows that wait for it.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Where a window of a group ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) end: i64,
    pub(super) group: u32,
    /// Tumbling windows: the pane.
    pub(super) start: i64,
}

#[derive(Debug)]
pub(super) struct Clock {
    /// Windows that end at it or before are closed.
    watermark: i64,
    /// Each open window is here, or one that ends before it in its place: whoever takes an end looks whether it is one.
    ends: BinaryHeap<Reverse<End>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::at(i64::MIN)
    }
}

impl Clock {
    pub(super) fn at(watermark: i64) -> Self {
        Self { watermark, ends: BinaryHeap::new() }
    }

    pub(super) fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Moves the watermark, which never goes back. Says whether it moved.
    pub(super) fn advance(&mut self, to: i64) -> bool {
        let moves = to > self.watermark;
        self.watermark = self.watermark.max(to);
        moves
    }

    pub(super) fn await_end(&mut self, end: End) {
        self.ends.push(Reverse(end));
    }

    /// Takes the next end that the watermark has passed.
    pub(super) fn passed(&mut self) -> Option<End> {
        let Reverse(end) = *self.ends.peek()?;
        if end.end > self.watermark {
            return None;
        }
        self.ends.pop();
        Some(end)
    }

    /// Nothing closes before.
    pub(super) fn first_end(&self) -> Option<i64> {
        self.ends.peek().map(|Reverse(end)| end.end)
    }
}

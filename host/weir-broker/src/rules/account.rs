//! The account of one action: which frames it has been given, which of their rows are settled, and the sums.
//!
//! Sums are merged frame by frame in offset order, so that what is stored is exact as of one offset: after a crash,
//! reading on from that offset neither forgets nor counts twice. `read = matched + unmatched + failed` and
//! `produced = delivered + dead_lettered + expired + pending` hold at any time.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;
use weir_core::{Offset, seams::Rows};
use weir_log::Frame;
use weir_store::ActionLedger;

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    Delivered,
    /// To the error target, or to the store.
    DeadLettered,
    Expired,
}

/// Rows of one frame for one action.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) frame: Arc<Frame>,
    pub(crate) rows: Rows,
    /// Why each row's message failed, when this is work for an error target.
    pub(crate) reasons: Vec<String>,
}

/// One frame an action was given.
#[derive(Debug)]
struct FrameAccount {
    first: Offset,
    next: Offset,
    tally: ActionLedger,
    outstanding: usize,
    given_at: Instant,
    accepted_at: i64,
}

#[derive(Debug)]
pub(crate) struct Account {
    /// Sums of every frame up to `merged_to`.
    merged: ActionLedger,
    merged_to: Offset,
    /// Frames after `merged_to`, in order.
    frames: VecDeque<FrameAccount>,
    /// Work that the worker has not taken.
    pub(crate) queue: VecDeque<Work>,
    queued_rows: usize,
    /// Given frames by the head. Otherwise the worker reads the log itself, from `read_to`.
    pub(crate) attached: bool,
    /// One past the last frame given.
    pub(crate) read_to: Offset,
    /// Why the worker waits, if it does.
    pub(crate) paused: Option<String>,
    pub(crate) stopped: bool,
}

/// Where an account stands, for the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) merged: ActionLedger,
    pub(crate) merged_to: Offset,
    pub(crate) attached: bool,
    /// Nothing is open: the account need not be looked at until it is given another frame.
    pub(crate) idle: bool,
}

impl Account {
    pub(crate) fn new(merged: ActionLedger, merged_to: Offset, attached: bool) -> Self {
        Self {
            merged,
            merged_to,
            frames: VecDeque::new(),
            queue: VecDeque::new(),
            queued_rows: 0,
            attached,
            read_to: merged_to,
            paused: None,
            stopped: false,
        }
    }

    /// Enters a frame. Says whether there is work to do. A frame that it has had already is passed over: it was settled
    /// before a restart, or the action's own reader was quicker than the head.
    pub(crate) fn give(&mut self, frame: &Arc<Frame>, tally: ActionLedger, work: Option<Work>) -> bool {
        if frame.next <= self.read_to {
            return false;
        }
        self.read_to = frame.next;
        let outstanding = work.as_ref().map_or(0, |work| work.rows.source.len());
        self.frames.push_back(FrameAccount {
            first: frame.first,
            next: frame.next,
            tally: ActionLedger { produced: outstanding as u64, ..tally },
            outstanding,
            given_at: Instant::now(),
            accepted_at: if frame.records.is_empty() { 0 } else { frame.records.accepted_at.value(0) },
        });
        let Some(work) = work.filter(|_| outstanding > 0) else { return false };
        self.queued_rows += outstanding;
        self.queue.push_back(work);
        true
    }

    pub(crate) fn take(&mut self) -> Option<Work> {
        let work = self.queue.pop_front()?;
        self.queued_rows -= work.rows.source.len();
        Some(work)
    }

    pub(crate) fn queued_rows(&self) -> usize {
        self.queued_rows
    }

    /// Says how a row of the frame that ends at `next` ended.
    pub(crate) fn settle(&mut self, next: Offset, how: Settled) {
        let index = self.frames.partition_point(|frame| frame.next < next);
        if let Some(frame) = self.frames.get_mut(index) {
            frame.outstanding = frame.outstanding.saturating_sub(1);
            match how {
                Settled::Delivered => frame.tally.delivered += 1,
                Settled::DeadLettered => frame.tally.dead_lettered += 1,
                Settled::Expired => frame.tally.expired += 1,
            }
        }
    }

    /// The oldest frame with rows that are not settled: its first offset, and since when it is here.
    pub(crate) fn oldest_open(&self) -> Option<(Offset, Instant)> {
        self.frames.iter().find(|frame| frame.outstanding > 0).map(|frame| (frame.first, frame.given_at))
    }

    /// Merges the settled frames in front, up to `bound` if the head shares its position with others.
    pub(crate) fn merge(&mut self, bound: Option<Offset>) -> Standing {
        while let Some(frame) = self.frames.front()
            && frame.outstanding == 0
            && bound.is_none_or(|bound| frame.next <= bound)
        {
            self.merged += frame.tally;
            self.merged_to = frame.next;
            self.frames.pop_front();
        }
        match bound {
            Some(bound) if self.frames.is_empty() => self.merged_to = self.merged_to.max(bound),
            None if self.frames.is_empty() => self.merged_to = self.merged_to.max(self.read_to),
            _ => {}
        }
        Standing {
            merged: self.merged,
            merged_to: self.merged_to,
            attached: self.attached,
            idle: self.attached && self.frames.is_empty(),
        }
    }

    /// Nothing that it was given waits.
    pub(crate) fn is_settled(&self) -> bool {
        self.frames.is_empty()
    }

    /// The log has dropped what lies before `oldest`: goes on from there and says which range was skipped.
    pub(crate) fn skip_to(&mut self, oldest: Offset) -> (Offset, Offset) {
        let from = self.read_to;
        self.read_to = oldest;
        (from, oldest)
    }

    /// The sums including frames that are not merged yet, and the rows that wait.
    pub(crate) fn sums(&self) -> (ActionLedger, u64) {
        let mut sum = self.merged;
        let mut pending = 0;
        for frame in &self.frames {
            sum += frame.tally;
            pending += frame.outstanding as u64;
        }
        (sum, pending)
    }

    /// Accept time of the oldest message that is not settled.
    pub(crate) fn oldest_accepted_at(&self) -> Option<i64> {
        self.frames.iter().find(|frame| frame.outstanding > 0).map(|frame| frame.accepted_at)
    }

    pub(crate) fn merged_to(&self) -> Offset {
        self.merged_to
    }
}

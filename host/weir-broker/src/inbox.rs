//! What waits for one session: offsets of log records, never payloads.
//!
//! `enqueued = acknowledged + dropped + pending` holds at any time.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use weir_core::{Offset, Qos};
use weir_log::Frame;

use crate::{metrics::Metrics, session::CloseReason};

/// Rows of one frame for one session, in order.
#[derive(Debug)]
pub struct Outbound {
    pub frame: Arc<Frame>,
    pub rows: Vec<OutboundRow>,
}

/// A row of a frame and the quality of service it is delivered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundRow {
    pub row: u32,
    pub qos: Qos,
}

/// Rows of one frame, without holding the frame: a slow session costs eight bytes a message, and reads it from the log
/// again when its turn comes.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) first: Offset,
    pub(crate) frame: Weak<Frame>,
    pub(crate) rows: Vec<OutboundRow>,
}

/// Counts of one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct InboxLedger {
    pub(crate) enqueued: u64,
    pub(crate) acknowledged: u64,
    pub(crate) dropped: u64,
    pub(crate) pending: u64,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    notify: Notify,
    bound: usize,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Rows in `entries`.
    waiting: usize,
    /// Rows at QoS 1 that the connection has sent and the client has not acknowledged.
    inflight: usize,
    ledger: InboxLedger,
    closed: Option<CloseReason>,
}

impl Inbox {
    pub(crate) fn new(bound: usize, metrics: Metrics) -> Self {
        Self { state: Mutex::default(), notify: Notify::new(), bound, metrics }
    }

    /// Adds rows of a frame. What does not fit is dropped and counted.
    pub(crate) fn push(&self, frame: &Arc<Frame>, mut rows: Vec<OutboundRow>) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        let room = self.bound.saturating_sub(state.waiting);
        let dropped = rows.len().saturating_sub(room);
        state.ledger.enqueued += rows.len() as u64;
        state.ledger.dropped += dropped as u64;
        self.metrics.enqueued(rows.len());
        rows.truncate(room);
        state.waiting += rows.len();
        if !rows.is_empty() {
            state.entries.push_back(Entry { first: frame.first, frame: Arc::downgrade(frame), rows });
        }
        drop(state);
        if dropped > 0 {
            self.metrics.dropped("inbox_full", dropped);
        }
        self.notify.notify_one();
    }

    /// Takes the next rows, as many as the inflight limit allows at QoS 1.
    pub(crate) fn take(&self, inflight_limit: usize) -> Option<Entry> {
        let mut state = self.state.lock();
        let room = inflight_limit.saturating_sub(state.inflight);
        let front = state.entries.front_mut()?;
        let mut confirmed = 0;
        let fits = front.rows.iter().take_while(|row| {
            confirmed += usize::from(row.qos > Qos::AtMostOnce);
            confirmed <= room
        });
        let count = fits.count();
        if count == 0 {
            return None;
        }
        let entry = if count == front.rows.len() {
            state.entries.pop_front()?
        } else {
            let rest = front.rows.split_off(count);
            let rows = std::mem::replace(&mut front.rows, rest);
            Entry { first: front.first, frame: front.frame.clone(), rows }
        };
        state.waiting -= entry.rows.len();
        let confirmed = entry.rows.iter().filter(|row| row.qos > Qos::AtMostOnce).count();
        state.inflight += confirmed;
        // A QoS 0 message is done when the connection has it; nobody will ever acknowledge it.
        state.ledger.acknowledged += (entry.rows.len() - confirmed) as u64;
        self.metrics.acknowledged(entry.rows.len() - confirmed);
        Some(entry)
    }

    pub(crate) fn acknowledged(&self, count: usize) {
        let mut state = self.state.lock();
        let count = count.min(state.inflight);
        state.inflight -= count;
        state.ledger.acknowledged += count as u64;
        drop(state);
        self.metrics.acknowledged(count);
        self.notify.notify_one();
    }

    /// Rows that were taken and cannot be delivered, because the log no longer holds them. They were counted as
    /// acknowledged where their QoS is 0, so only the others move.
    pub(crate) fn lost(&self, rows: &[OutboundRow]) {
        let confirmed = rows.iter().filter(|row| row.qos > Qos::AtMostOnce).count();
        let mut state = self.state.lock();
        state.inflight = state.inflight.saturating_sub(confirmed);
        state.ledger.dropped += confirmed as u64;
        drop(state);
        self.metrics.dropped("log_retention", confirmed);
    }

    pub(crate) fn close(&self, reason: CloseReason) {
        let mut state = self.state.lock();
        state.closed.get_or_insert(reason);
        drop(state);
        self.notify.notify_one();
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.state.lock().closed
    }

    /// Ends the account: whatever still waits is dropped, because the session has ended.
    pub(crate) fn settle(&self) {
        let mut state = self.state.lock();
        state.closed.get_or_insert(CloseReason::Ended);
        let pending = state.waiting + state.inflight;
        state.entries = VecDeque::new();
        state.waiting = 0;
        state.inflight = 0;
        state.ledger.dropped += pending as u64;
        drop(state);
        self.metrics.dropped("session_ended", pending);
    }

    pub(crate) fn ledger(&self) -> InboxLedger {
        let state = self.state.lock();
        InboxLedger { pending: (state.waiting + state.inflight) as u64, ..state.ledger }
    }

    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
    }
}

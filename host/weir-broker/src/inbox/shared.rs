//! The queue of a shared subscription, from which its members draw: whoever has room takes the next messages.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use weir_core::{Offset, Qos};
use weir_log::Frame;

use super::{
    Bounds, Moment,
    queue::{Place, Queue, Row},
};
use crate::{inbox::ledger::Dropped, metrics::Metrics};

/// The number of a row is its offset: members come and go, so that nothing else about it is the same after a restart.
#[derive(Debug)]
pub(crate) struct SharedQueue {
    /// `$share/GROUP/FILTER`.
    pub(crate) name: String,
    bounds: Bounds,
    metrics: Metrics,
    /// Held for as long as a few rows are moved.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// Rows that members have and did not acknowledge.
    handed_out: BTreeMap<u64, Row>,
    /// Every row below is done or waits.
    next: u64,
}

impl SharedQueue {
    pub(crate) fn new(name: String, bounds: Bounds, metrics: Metrics) -> Self {
        Self { name, bounds, metrics, state: Mutex::default() }
    }

    /// A queue as it was stored.
    pub(crate) fn restored(name: String, bounds: Bounds, metrics: Metrics, rows: Vec<Row>, next: u64) -> Self {
        let queue = Self::new(name, bounds, metrics);
        let mut state = queue.state.lock();
        state.next = next;
        rows.into_iter().for_each(|row| state.queue.push(row));
        drop(state);
        queue
    }

    /// Adds rows of a frame. What does not fit is dropped and counted.
    pub(crate) fn push(&self, frame: &Arc<Frame>, rows: &mut Vec<Row>, moment: Moment) {
        let mut state = self.state.lock();
        let mut dropped = 0;
        state.queue.note(frame);
        for row in rows.drain(..) {
            if self.bounds.are_reached(&state.queue, moment) {
                dropped += 1;
            } else {
                state.next = row.number + 1;
                state.queue.push(row);
            }
        }
        drop(state);
        self.metrics.dropped(Dropped::InboxFull, dropped);
    }

    /// The first row that waits, and its frame if it is in memory.
    pub(super) fn front(&self) -> Option<(Place, u64, Qos, Option<Arc<Frame>>)> {
        let mut state = self.state.lock();
        let row = state.queue.front()?;
        let (place, number, qos) = (row.place.clone(), row.number, row.qos);
        let frame = match &place {
            Place::Log(offset) => state.queue.frame_of(*offset),
            Place::Held(_) | Place::Stored => None,
        };
        Some((place, number, qos, frame))
    }

    /// Takes the first row if `wanted` says so, for a member that gets at most `qos`.
    pub(super) fn take(&self, qos: Qos, wanted: impl FnOnce(&Row) -> bool) -> Option<Row> {
        let mut state = self.state.lock();
        if !state.queue.front().is_some_and(wanted) {
            return None;
        }
        let row = state.queue.pop()?;
        if row.is_confirmed() && qos > Qos::AtMostOnce {
            state.handed_out.insert(row.number, row.clone());
        }
        Some(row)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().queue.len() == 0
    }

    pub(super) fn done(&self, number: u64) {
        self.state.lock().handed_out.remove(&number);
    }

    /// The row goes to another member.
    pub(super) fn give_back(&self, number: u64) {
        let mut state = self.state.lock();
        if let Some(row) = state.handed_out.remove(&number) {
            state.queue.put_back(row);
        }
    }

    /// Everything below is done.
    pub(crate) fn done_mark(&self) -> u64 {
        let state = self.state.lock();
        let waiting = state.queue.rows().find(|row| row.is_confirmed()).map(|row| row.number);
        let handed_out = state.handed_out.keys().next().copied();
        waiting.into_iter().chain(handed_out).min().unwrap_or(state.next)
    }

    /// The rows that are not done, in order, and the number of the next.
    pub(crate) fn snapshot(&self) -> (Vec<Row>, u64) {
        let state = self.state.lock();
        let mut rows: Vec<Row> = state.handed_out.values().cloned().collect();
        rows.extend(state.queue.rows().filter(|row| row.is_confirmed()).cloned());
        rows.sort_by_key(|row| row.number);
        (rows, state.next)
    }

    /// The lowest place in the log that is still needed.
    pub(crate) fn lowest(&self) -> Option<Offset> {
        let state = self.state.lock();
        // Both are in order.
        let waiting = state.queue.rows().find_map(in_log);
        let handed_out = state.handed_out.values().find_map(in_log);
        waiting.into_iter().chain(handed_out).min()
    }

    /// Places in the log below `horizon` that are needed, with their numbers.
    pub(crate) fn in_log_before(&self, horizon: Offset) -> Vec<(Offset, u64)> {
        let state = self.state.lock();
        let rows = state.handed_out.values().chain(state.queue.rows());
        rows.filter_map(|row| Some((in_log(row)?, row.number))).filter(|(offset, _)| *offset < horizon).collect()
    }

    pub(crate) fn are_stored(&self, stored: impl Fn(u64) -> bool) {
        let mut state = self.state.lock();
        state.queue.are_stored(&stored);
        for (number, row) in &mut state.handed_out {
            if stored(*number) {
                row.place = Place::Stored;
            }
        }
    }
}

/// The place of a row that must be found again after a restart.
pub(super) fn in_log(row: &Row) -> Option<Offset> {
    match row.place {
        Place::Log(offset) if row.is_confirmed() => Some(offset),
        _ => None,
    }
}

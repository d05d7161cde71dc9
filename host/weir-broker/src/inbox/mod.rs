//! What waits for one session, and what its client has and did not acknowledge: places in the log, never payloads.
//!
//! Delivery puts in, the session's connection takes out; an inbox outlives connections, and the one that is attached
//! has its [`Line`]. `enqueued = acknowledged + expired + dropped + pending` holds at any time.
//!
//! Packet identifiers follow from the numbers of messages, which follow from the log alone. So after a crash a message
//! has the identifier that it was sent with, though nobody wrote it down.

pub(crate) mod ledger;
pub(crate) mod queue;
pub(crate) mod shared;
mod take;

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use weir_core::{Offset, Qos};
use weir_log::Frame;

use self::{
    ledger::{Dropped, Ledger},
    queue::{Place, Queue, Row},
    shared::{SharedQueue, in_log},
};
use crate::{line::Line, metrics::Metrics, session::CloseReason};

pub(crate) use take::{Front, Origin};

/// Packet identifiers from 1 up to here are those of a session's own messages; the others, of shared subscriptions'.
const OWN_IDENTIFIERS: u16 = 49_151;

/// What may wait in one inbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
    /// Milliseconds.
    pub(crate) age: i64,
}

/// When rows are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Live,
    /// The log is read again after a restart. Some of what is read was acknowledged, which was not written down yet, so
    /// twice as much may wait.
    Replay,
}

impl Bounds {
    fn are_reached(&self, queue: &Queue, moment: Moment) -> bool {
        let slack = match moment {
            Moment::Live => 1,
            Moment::Replay => 2,
        };
        queue.len() >= self.messages.saturating_mul(slack) || queue.bytes() >= self.bytes.saturating_mul(slack as u64)
    }
}

#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    bounds: Bounds,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// Sent and not acknowledged, in the order of their numbers.
    inflight: VecDeque<Inflight>,
    /// PUBRELs to be sent again.
    releases: Vec<u16>,
    /// Messages of shared subscriptions, sent and not acknowledged.
    shared: Vec<SharedInflight>,
    memberships: Vec<Membership>,
    /// Which membership has its turn.
    turn: usize,
    last_shared_identifier: u16,
    line: Option<Arc<Line>>,
    /// Messages that may be in flight.
    window: usize,
    ledger: Ledger,
    /// Everything below has been put in.
    next: u64,
}

#[derive(Debug)]
struct Inflight {
    row: Row,
    /// The client has it (PUBREC) and it is only to be released.
    received: bool,
}

#[derive(Debug)]
struct SharedInflight {
    packet_id: u16,
    number: u64,
    queue: Arc<SharedQueue>,
}

/// A session's part in a shared subscription.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) queue: Arc<SharedQueue>,
    pub(crate) qos: Qos,
    pub(crate) retain_as_published: bool,
    pub(crate) identifiers: Option<Arc<Vec<u32>>>,
}

/// A row as it is stored: with what happened to it.
#[derive(Debug, Clone)]
pub(crate) struct SavedRow {
    pub(crate) row: Row,
    pub(crate) sent: bool,
    pub(crate) received: bool,
}

fn packet_id(number: u64) -> u16 {
    // The remainder is below 49,151.
    (number % u64::from(OWN_IDENTIFIERS)) as u16 + 1
}

impl Inbox {
    pub(crate) fn new(bounds: Bounds, metrics: Metrics) -> Self {
        Self { state: Mutex::default(), bounds, metrics }
    }

    /// An inbox as it was stored.
    pub(crate) fn restored(bounds: Bounds, metrics: Metrics, ledger: Ledger, next: u64, rows: Vec<SavedRow>) -> Self {
        let mut state = State { ledger, next, ..State::default() };
        for SavedRow { mut row, sent, received } in rows {
            if received {
                state.inflight.push_back(Inflight { row, received });
            } else {
                row.dup |= sent;
                state.queue.push(row);
            }
        }
        Self { state: Mutex::new(state), bounds, metrics }
    }

    // === Delivery's side ===

    /// Adds rows of a frame. What does not fit is dropped and counted; while no client is there, what is at QoS 0 is
    /// not for the session at all.
    pub(crate) fn push(&self, frame: &Arc<Frame>, rows: &mut Vec<Row>, moment: Moment) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let (mut enqueued, mut dropped) = (0, 0);
        for row in rows.drain(..) {
            state.next = row.number + u64::from(row.is_confirmed());
            if state.line.is_none() && !row.is_confirmed() {
                continue;
            }
            enqueued += 1;
            if self.bounds.are_reached(&state.queue, moment) {
                dropped += 1;
            } else {
                state.queue.push(row);
            }
        }
        if enqueued > dropped {
            state.queue.note(frame);
        }
        state.ledger.enqueued += enqueued;
        state.ledger.drop(Dropped::InboxFull, dropped);
        if let Some(line) = &state.line {
            line.wake();
        }
        self.metrics.enqueued(enqueued);
        self.metrics.dropped(Dropped::InboxFull, dropped);
    }

    /// Gives the session to a connection, which may have `window` messages in flight. What the last one did not
    /// acknowledge is sent again.
    pub(crate) fn attach(&self, line: &Arc<Line>, window: usize) {
        let mut state = self.state.lock();
        self.let_go(&mut state);
        state.window = window.max(1);
        state.line = Some(Arc::clone(line));
        line.wake();
    }

    /// Takes the session from the connection `line`, if that has it. Messages at QoS 0 are not kept without one.
    pub(crate) fn detach(&self, line: u64) {
        let mut state = self.state.lock();
        if state.line.as_ref().is_some_and(|attached| attached.id == line) {
            self.let_go(&mut state);
            let dropped = state.queue.retain(Row::is_confirmed);
            state.ledger.drop(Dropped::Offline, dropped);
            self.metrics.dropped(Dropped::Offline, dropped);
        }
    }

    fn let_go(&self, state: &mut State) {
        state.line = None;
        state.releases.clear();
        self.redistribute(state, |_| true);
        let inflight = std::mem::take(&mut state.inflight);
        let (received, sent): (VecDeque<_>, VecDeque<_>) = inflight.into_iter().partition(|inflight| inflight.received);
        state.releases.extend(received.iter().map(|inflight| packet_id(inflight.row.number)));
        state.inflight = received;
        for Inflight { mut row, .. } in sent {
            row.dup = true;
            state.queue.put_back(row);
        }
    }

    /// Gives back to their queues the messages of shared subscriptions that `which` means.
    fn redistribute(&self, state: &mut State, which: impl Fn(&SharedInflight) -> bool) {
        let mut given_back = 0;
        state.shared.retain(|inflight| {
            let goes = which(inflight);
            if goes {
                inflight.queue.give_back(inflight.number);
                given_back += 1;
            }
            !goes
        });
        state.ledger.drop(Dropped::Redistributed, given_back);
        self.metrics.dropped(Dropped::Redistributed, given_back);
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.state.lock().line.is_some()
    }

    /// Tells the client that there may be something for it.
    pub(crate) fn wake(&self) {
        if let Some(line) = &self.state.lock().line {
            line.wake();
        }
    }

    /// Joins a shared subscription, or changes the part in it.
    pub(crate) fn join(&self, membership: Membership) {
        let mut state = self.state.lock();
        state.memberships.retain(|known| !Arc::ptr_eq(&known.queue, &membership.queue));
        state.memberships.push(membership);
        if let Some(line) = &state.line {
            line.wake();
        }
    }

    /// Leaves a shared subscription; what was sent and not acknowledged goes to other members.
    pub(crate) fn leave(&self, queue: &Arc<SharedQueue>) {
        let mut state = self.state.lock();
        state.memberships.retain(|known| !Arc::ptr_eq(&known.queue, queue));
        self.redistribute(&mut state, |inflight| Arc::ptr_eq(&inflight.queue, queue));
    }

    /// Ends the account: whatever still waits is dropped, because the session has ended.
    pub(crate) fn settle(&self) {
        let mut state = self.state.lock();
        self.redistribute(&mut state, |_| true);
        let pending = (state.queue.len() + state.inflight.len()) as u64;
        state.ledger.drop(Dropped::SessionEnded, pending);
        let (ledger, line) = (state.ledger, state.line.take());
        *state = State { ledger, line, ..State::default() };
        drop(state);
        self.metrics.dropped(Dropped::SessionEnded, pending);
    }

    /// Closes the connection that has the session, if one has.
    pub(crate) fn close(&self, reason: CloseReason) {
        if let Some(line) = &self.state.lock().line {
            line.close(reason);
        }
    }

    /// A connection of an earlier process had the session, and which messages it sent was written down nowhere
    /// [MQTT-3.3.1-1], [MQTT5-3.3.1-1].
    pub(crate) fn may_have_been_sent(&self) {
        self.state.lock().queue.may_have_been_sent();
    }

    /// Drops what lies before `horizon` in the log, because it is too old.
    pub(crate) fn drop_before(&self, horizon: Offset) {
        let mut state = self.state.lock();
        let is_old = |row: &Row| matches!(row.place, Place::Log(offset) if offset < horizon);
        if state.queue.front().is_some_and(is_old) {
            let dropped = state.queue.retain(|row| !is_old(row));
            state.ledger.drop(Dropped::TooOld, dropped);
            self.metrics.dropped(Dropped::TooOld, dropped);
        }
    }

    /// The client has taken the QoS 2 message of this number, which is only to be released from now on.
    pub(crate) fn was_received(&self, number: u64) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(inflight) = state.inflight.iter_mut().find(|inflight| inflight.row.number == number) {
            inflight.received = true;
            return;
        }
        // It was sent by an earlier process, or to an earlier connection.
        if let Some(row) = state.queue.take(number) {
            let later = state.inflight.iter().rev().take_while(|other| other.row.number > number).count();
            state.inflight.insert(state.inflight.len() - later, Inflight { row, received: true });
            state.releases.push(packet_id(number));
        }
    }

    /// The rows that must be found again after a restart, in order.
    pub(crate) fn snapshot(&self) -> (Ledger, Vec<SavedRow>) {
        let state = self.state.lock();
        let sent = state.inflight.iter().map(|inflight| SavedRow {
            row: inflight.row.clone(),
            sent: true,
            received: inflight.received,
        });
        let waiting = state.queue.rows().filter(|row| row.is_confirmed());
        let waiting = waiting.map(|row| SavedRow { row: row.clone(), sent: row.dup, received: false });
        let mut ledger = state.ledger;
        // What is at QoS 0 does not outlive the process; it is as good as gone.
        let unkept = state.queue.rows().filter(|row| !row.is_confirmed()).count() + state.shared.len();
        ledger.drop(Dropped::Offline, unkept as u64);
        (ledger, sent.chain(waiting).collect())
    }

    /// Every message with a number below is done.
    pub(crate) fn done_mark(&self) -> u64 {
        let state = self.state.lock();
        let inflight = state.inflight.front().map(|inflight| inflight.row.number);
        let waiting = state.queue.rows().find(|row| row.is_confirmed()).map(|row| row.number);
        inflight.into_iter().chain(waiting).min().unwrap_or(state.next)
    }

    /// The lowest place in the log that is still needed.
    pub(crate) fn lowest(&self) -> Option<Offset> {
        let state = self.state.lock();
        let inflight = state.inflight.iter().find_map(|inflight| in_log(&inflight.row));
        inflight.into_iter().chain(state.queue.rows().find_map(in_log)).min()
    }

    /// Places in the log below `horizon` that are needed, with their numbers.
    pub(crate) fn in_log_before(&self, horizon: Offset) -> Vec<(Offset, u64)> {
        let state = self.state.lock();
        let rows = state.inflight.iter().map(|inflight| &inflight.row).chain(state.queue.rows());
        rows.filter_map(|row| Some((in_log(row)?, row.number))).filter(|(offset, _)| *offset < horizon).collect()
    }

    /// The rows with these numbers are in the store from now on.
    pub(crate) fn are_stored(&self, stored: impl Fn(u64) -> bool) {
        let mut state = self.state.lock();
        state.queue.are_stored(&stored);
        for inflight in &mut state.inflight {
            if matches!(inflight.row.place, Place::Log(_)) && stored(inflight.row.number) {
                inflight.row.place = Place::Stored;
            }
        }
    }

    /// The account, and what is pending.
    pub(crate) fn ledger(&self) -> (Ledger, u64) {
        let state = self.state.lock();
        (state.ledger, (state.queue.len() + state.inflight.len() + state.shared.len()) as u64)
    }
}

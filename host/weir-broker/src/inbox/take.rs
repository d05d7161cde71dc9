//! The connection's side of an inbox: what to send next, and what the client says of it.
//!
//! Taking is in two steps, so that a frame can be read from the disk in between and the wait for it be cancelled: first
//! the connection learns what is in front, then it takes what lies in the frame that it has got.

use std::sync::Arc;

use weir_core::{Offset, Qos, Timestamp};
use weir_log::Frame;

use super::{
    Inbox, Inflight, OWN_IDENTIFIERS, SharedInflight, State,
    ledger::Dropped,
    packet_id,
    queue::{Place, Row},
    shared::SharedQueue,
};
use crate::{
    line::Line,
    message::{KeptMessage, seconds_left},
    outbound::{Outbound, OutboundRow},
};

/// Messages taken at once from a shared subscription, so that the other members get theirs.
const SHARED_BATCH: usize = 16;

/// Whose row is in front.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Own,
    Shared(Arc<SharedQueue>),
}

/// What is in front of an inbox.
#[derive(Debug)]
pub(crate) enum Front {
    /// Nothing, or the client must acknowledge something first.
    Nothing,
    /// PUBRELs to be sent again.
    Release(Vec<u16>),
    /// A message in the log; the frame, if it is in memory.
    Log { offset: Offset, frame: Option<Arc<Frame>>, origin: Origin },
    /// A message in memory.
    Held { message: Arc<KeptMessage>, origin: Origin },
    /// A message in the store.
    Stored { number: u64, origin: Origin },
}

impl State {
    fn has(&self, line: &Line) -> bool {
        self.line.as_ref().is_some_and(|attached| attached.id == line.id)
    }

    fn has_room(&self) -> bool {
        self.inflight.len() + self.shared.len() < self.window
    }

    /// Whether the session's own first row may be sent: the window is open, and its identifier is not in flight.
    fn may_send(&self, row: &Row) -> bool {
        let oldest = self.inflight.front().map_or(row.number, |inflight| inflight.row.number);
        !row.is_confirmed() || (self.has_room() && row.number.saturating_sub(oldest) < u64::from(OWN_IDENTIFIERS))
    }

    /// An identifier for a message of a shared subscription.
    fn shared_identifier(&mut self) -> u16 {
        loop {
            let next = self.last_shared_identifier.checked_add(1).unwrap_or(0).max(OWN_IDENTIFIERS + 1);
            self.last_shared_identifier = next;
            // The window is smaller than the range, so one is free.
            if !self.shared.iter().any(|inflight| inflight.packet_id == next) {
                return next;
            }
        }
    }
}

impl Inbox {
    /// What the connection is to do next.
    pub(crate) fn front(&self, line: &Line) -> Front {
        let mut state = self.state.lock();
        if !state.has(line) {
            return Front::Nothing;
        }
        if !state.releases.is_empty() {
            return Front::Release(std::mem::take(&mut state.releases));
        }
        let state = &mut *state;
        if let Some(row) = state.queue.front().filter(|row| state.may_send(row)) {
            return match row.place.clone() {
                Place::Log(offset) => Front::Log { offset, frame: state.queue.frame_of(offset), origin: Origin::Own },
                Place::Held(message) => Front::Held { message, origin: Origin::Own },
                Place::Stored => Front::Stored { number: row.number, origin: Origin::Own },
            };
        }
        let members = state.memberships.len();
        for _ in 0..members {
            state.turn = (state.turn + 1) % members;
            let Some(membership) = state.memberships.get(state.turn) else { break };
            let Some((place, number, qos, frame)) = membership.queue.front() else { continue };
            if qos.min(membership.qos) > Qos::AtMostOnce && !state.has_room() {
                continue;
            }
            let origin = Origin::Shared(Arc::clone(&membership.queue));
            return match place {
                Place::Log(offset) => Front::Log { offset, frame, origin },
                Place::Held(message) => Front::Held { message, origin },
                Place::Stored => Front::Stored { number, origin },
            };
        }
        Front::Nothing
    }

    /// Takes the rows in front that lie in `frame`. `None` if there is none any more.
    pub(crate) fn take(&self, line: &Line, origin: &Origin, frame: &Arc<Frame>, now: Timestamp) -> Option<Outbound> {
        let mut state = self.state.lock();
        if !state.has(line) {
            return None;
        }
        let state = &mut *state;
        let mut rows = Vec::new();
        let is_inside =
            |row: &Row| matches!(row.place, Place::Log(offset) if offset >= frame.first && offset < frame.next);
        loop {
            let row = match origin {
                Origin::Own => {
                    if !state.queue.front().is_some_and(|row| is_inside(row) && state.may_send(row)) {
                        break;
                    }
                    state.queue.pop()
                }
                Origin::Shared(queue) => {
                    if rows.len() >= SHARED_BATCH {
                        break;
                    }
                    self.draw(state, queue, is_inside)
                }
            };
            let Some(row) = row else { break };
            let Place::Log(offset) = row.place else { continue };
            let index = usize::try_from(offset.0 - frame.first.0).unwrap_or(usize::MAX);
            let accepted_at = frame.records.accepted_at(index);
            let expiry = weir_core::schema::optional(&frame.records.expiry, index);
            if !self.is_wanted(state, origin, &row, accepted_at, expiry, now) {
                continue;
            }
            // Rows of a frame are counted in u32 on disk.
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            rows.push(self.send(state, origin, row, index));
        }
        if rows.is_empty() { None } else { Some(Outbound::of_frame(Arc::clone(frame), rows, now)) }
    }

    /// Takes the row in front, whose message is not in the log. `None` if it is not there any more.
    pub(crate) fn take_kept(
        &self,
        line: &Line,
        origin: &Origin,
        message: Arc<KeptMessage>,
        now: Timestamp,
    ) -> Option<Outbound> {
        let mut state = self.state.lock();
        if !state.has(line) {
            return None;
        }
        let state = &mut *state;
        let is_kept = |row: &Row| !matches!(row.place, Place::Log(_));
        let row = match origin {
            Origin::Own if state.queue.front().is_some_and(is_kept) => state.queue.pop(),
            Origin::Own => None,
            Origin::Shared(queue) => self.draw(state, queue, is_kept),
        }?;
        if !self.is_wanted(state, origin, &row, message.accepted_at, message.message.expiry, now) {
            return None;
        }
        let row = self.send(state, origin, row, 0);
        Some(Outbound::of_kept(message, row, now))
    }

    /// Takes a row from a shared subscription, as this session gets it.
    fn draw(&self, state: &mut State, queue: &Arc<SharedQueue>, wanted: impl Fn(&Row) -> bool) -> Option<Row> {
        let membership = state.memberships.iter().find(|known| Arc::ptr_eq(&known.queue, queue))?.clone();
        let has_room = state.has_room();
        let may_send = |row: &Row| has_room || row.qos.min(membership.qos) == Qos::AtMostOnce;
        let mut row = queue.take(membership.qos, |row| wanted(row) && may_send(row))?;
        row.qos = row.qos.min(membership.qos);
        row.retain &= membership.retain_as_published;
        row.identifiers = membership.identifiers;
        state.ledger.enqueued += 1;
        self.metrics.enqueued(1);
        Some(row)
    }

    /// Whether a row that was taken is still to be sent; if not, it is accounted for.
    fn is_wanted(
        &self,
        state: &mut State,
        origin: &Origin,
        row: &Row,
        accepted_at: Timestamp,
        expiry: Option<u32>,
        now: Timestamp,
    ) -> bool {
        // What was sent once may not be taken back: the client may have it.
        let is_expired = seconds_left(expiry, accepted_at, now) == Some(0) && !row.dup;
        let is_old = now.0.saturating_sub(accepted_at.0) > self.bounds.age;
        if !is_expired && !is_old {
            return true;
        }
        if let Origin::Shared(queue) = origin {
            queue.done(row.number);
        }
        if is_expired {
            state.ledger.expired += 1;
            self.metrics.expired(1);
        } else {
            state.ledger.drop(Dropped::TooOld, 1);
            self.metrics.dropped(Dropped::TooOld, 1);
        }
        false
    }

    /// Notes that a row is on its way.
    fn send(&self, state: &mut State, origin: &Origin, row: Row, index: u32) -> OutboundRow {
        let sent = OutboundRow {
            index,
            packet_id: 0,
            qos: row.qos,
            dup: row.dup && row.is_confirmed(),
            retain: row.retain,
            identifiers: row.identifiers.clone(),
        };
        if !row.is_confirmed() {
            // It is done when the connection has it; nobody will ever acknowledge it.
            state.ledger.acknowledged += 1;
            self.metrics.acknowledged(1);
            return sent;
        }
        match origin {
            Origin::Own => {
                let packet_id = packet_id(row.number);
                // Behind those before it: what is sent again was overtaken by what the client has received.
                let later = state.inflight.iter().rev().take_while(|other| other.row.number > row.number).count();
                state.inflight.insert(state.inflight.len() - later, Inflight { row, received: false });
                OutboundRow { packet_id, ..sent }
            }
            Origin::Shared(queue) => {
                let packet_id = state.shared_identifier();
                let number = row.number;
                state.shared.push(SharedInflight { packet_id, number, queue: Arc::clone(queue) });
                OutboundRow { packet_id, dup: false, ..sent }
            }
        }
    }

    /// Rows in front whose place in the log is below `oldest`, where it begins now: they are lost.
    pub(crate) fn lost_before(&self, origin: &Origin, oldest: Offset) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let is_lost = |row: &Row| matches!(row.place, Place::Log(offset) if offset < oldest);
        let mut lost = 0;
        loop {
            let row = match origin {
                Origin::Own if state.queue.front().is_some_and(is_lost) => state.queue.pop(),
                Origin::Own => None,
                Origin::Shared(queue) => queue.take(Qos::AtMostOnce, is_lost),
            };
            if row.is_none() {
                break;
            }
            lost += 1;
        }
        if matches!(origin, Origin::Shared(_)) {
            state.ledger.enqueued += lost;
        }
        state.ledger.drop(Dropped::LogRetention, lost);
        self.metrics.dropped(Dropped::LogRetention, lost);
    }

    /// A row in front whose message the store does not have.
    pub(crate) fn lost_stored(&self, origin: &Origin, number: u64) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let is_lost = |row: &Row| row.number == number && matches!(row.place, Place::Stored);
        let row = match origin {
            Origin::Own if state.queue.front().is_some_and(is_lost) => state.queue.pop(),
            Origin::Own => None,
            Origin::Shared(queue) => queue.take(Qos::AtMostOnce, is_lost),
        };
        if row.is_some() {
            state.ledger.enqueued += u64::from(matches!(origin, Origin::Shared(_)));
            state.ledger.drop(Dropped::LogRetention, 1);
            self.metrics.dropped(Dropped::LogRetention, 1);
        }
    }

    /// The client has acknowledged messages (or refused them, which ends them too). Says how many it had.
    pub(crate) fn acknowledged(&self, line: &Line, identifiers: &[u16]) -> usize {
        let mut state = self.state.lock();
        if !state.has(line) {
            return 0;
        }
        let mut known = 0;
        for identifier in identifiers {
            known += usize::from(finish(&mut state, *identifier, |inflight| !inflight.received));
        }
        state.ledger.acknowledged += known as u64;
        self.metrics.acknowledged(known as u64);
        if known > 0 {
            line.wake();
        }
        known
    }

    /// The number of the QoS 2 message that is in flight with this identifier.
    pub(crate) fn in_flight(&self, line: &Line, identifier: u16) -> Option<u64> {
        let state = self.state.lock();
        let is_meant =
            |inflight: &&Inflight| inflight.row.qos == Qos::ExactlyOnce && packet_id(inflight.row.number) == identifier;
        let found = state.inflight.iter().find(is_meant)?;
        state.has(line).then_some(found.row.number)
    }

    /// The client has released a QoS 2 message for good (PUBCOMP).
    pub(crate) fn completed(&self, line: &Line, identifier: u16) -> bool {
        let mut state = self.state.lock();
        let known = state.has(line) && finish(&mut state, identifier, |inflight| inflight.received);
        if known {
            state.ledger.acknowledged += 1;
            self.metrics.acknowledged(1);
            line.wake();
        }
        known
    }

    /// A row was taken and cannot be sent to this client.
    pub(crate) fn undeliverable(&self, row: &OutboundRow) {
        let mut state = self.state.lock();
        if row.qos == Qos::AtMostOnce {
            // It was counted when it was taken.
            state.ledger.acknowledged = state.ledger.acknowledged.saturating_sub(1);
        } else {
            finish(&mut state, row.packet_id, |_| true);
        }
        state.ledger.drop(Dropped::TooLarge, 1);
        self.metrics.dropped(Dropped::TooLarge, 1);
    }
}

/// Takes a message out of those in flight, if it is there and `in_stage`.
fn finish(state: &mut State, identifier: u16, in_stage: impl Fn(&Inflight) -> bool) -> bool {
    if identifier > OWN_IDENTIFIERS {
        let Some(at) = state.shared.iter().position(|inflight| inflight.packet_id == identifier) else { return false };
        let inflight = state.shared.swap_remove(at);
        inflight.queue.done(inflight.number);
        return true;
    }
    // Most acknowledge in order, so it is the first.
    let is_meant = |inflight: &Inflight| packet_id(inflight.row.number) == identifier;
    let Some(at) = state.inflight.iter().position(is_meant) else { return false };
    if !state.inflight.get(at).is_some_and(in_stage) {
        return false;
    }
    state.inflight.remove(at);
    true
}

//! What Delivery does by the clock: ends sessions, drops what is too old, notes progress, and says what the log must keep.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use weir_core::{Offset, SubscriptionFilter, Timestamp};
use weir_log::Record;
use weir_store::DoneMarks;

use super::{
    Delivery,
    control::{Change, Closed, ControlRecord},
    saver::{Need, Work},
    state::Gone,
};

/// How often everything that changed is stored. After a crash, the log is read again from there.
const SNAPSHOT: Duration = Duration::from_secs(30);
/// Records after which it is stored before its time, so that a start does not take long.
const SNAPSHOT_RECORDS: u64 = 1_000_000;
/// How often the log's place is noted, to tell the age of what waits.
const MARK: Duration = Duration::from_secs(60);
/// Messages copied out of the log at once.
const COPIED_AT_ONCE: usize = 10_000;

/// Numbers of messages that are in the store, by the inbox they are in.
pub(super) type Stored = BTreeMap<String, BTreeSet<u64>>;

#[derive(Debug)]
pub(super) struct Upkeep {
    /// When the last snapshot was taken, and of what position it was.
    saved_at: Instant,
    saved: Offset,
    /// A session has come that no snapshot knows.
    pub(super) is_new: bool,
    /// Where the log was at what time, oldest first.
    marks: VecDeque<(Offset, Timestamp)>,
    marked_at: Option<Instant>,
    /// Messages that are being copied out of the log.
    copying: Option<oneshot::Receiver<Stored>>,
}

impl Upkeep {
    pub(super) fn new(position: Offset) -> Self {
        Self {
            saved_at: Instant::now(),
            saved: position,
            is_new: false,
            marks: VecDeque::new(),
            marked_at: None,
            copying: None,
        }
    }
}

impl Delivery {
    pub(super) fn look_after(&mut self, now: Instant) {
        self.let_go();
        let time = self.clock.now();
        self.expire_sessions(time);
        if self.upkeep.marked_at.is_none_or(|at| now.duration_since(at) >= MARK) {
            self.upkeep.marked_at = Some(now);
            self.retained.expire(time);
            self.drop_old(time);
        }
        self.metrics.kept(self.sessions.kept(), self.retained.len());
        let records = self.position.0.saturating_sub(self.upkeep.saved.0);
        let waited = now.duration_since(self.upkeep.saved_at);
        if records > 0 && (waited >= SNAPSHOT || records >= SNAPSHOT_RECORDS || self.upkeep.is_new) {
            self.save(now);
        } else {
            self.note_progress();
        }
        self.look_after_log();
    }

    /// Sessions that the last process left connected are without a connection from now on.
    pub(super) fn begin_live(&mut self) {
        let now = self.clock.now();
        let mut over = Vec::new();
        for (place, session) in &mut self.sessions.slots {
            if session.offline_since.is_none() {
                session.inbox.may_have_been_sent();
                session.offline_since = Some(now);
            }
            if session.expiry == 0 {
                over.push(place);
            }
        }
        over.into_iter().for_each(|place| self.end(place));
    }

    /// Connections that are gone.
    pub(super) fn let_go(&mut self) {
        let gone = std::mem::take(&mut *self.state.gone.lock());
        for Gone { key, connection, is_written } in gone {
            let Some(place) = self.sessions.place(&key) else { continue };
            let Some(session) = self.sessions.slots.get(place) else { continue };
            session.inbox.detach(connection);
            self.wake_groups(place);
            let Some(session) = self.sessions.slots.get(place).filter(|session| session.connection == connection)
            else {
                continue;
            };
            if session.kept {
                if !is_written {
                    self.tell(&key, &Change::Closed(Closed { connection, expiry: None }));
                }
            } else {
                self.end(place);
            }
        }
    }

    /// What a client gave back may be for other members of its groups.
    fn wake_groups(&mut self, place: usize) {
        let Some(session) = self.sessions.slots.get(place) else { return };
        let groups: Vec<SubscriptionFilter> =
            session.subscriptions.filters().filter(|filter| filter.group().is_some()).cloned().collect();
        for filter in groups {
            if let Some(at) = self.sessions.shared_place(&filter) {
                self.wake_members(at);
            }
        }
    }

    /// Appends a record of the hub's own. Where the log has no room it is left out: what it says is found out again.
    fn tell(&self, key: &crate::session::SessionKey, change: &Change) {
        let control = ControlRecord::new(key, change);
        let records: [Record<'_>; 1] = [control.record()];
        if let Err(error) = self.log.try_append_reserved(&records) {
            tracing::debug!(%key, %error, "a session's end was not written");
        }
    }

    fn expire_sessions(&mut self, now: Timestamp) {
        for (_, session) in &mut self.sessions.slots {
            if !session.kept || session.inbox.is_attached() {
                continue;
            }
            // The end of its connection could not be written; it counts from now.
            session.offline_since.get_or_insert(now);
        }
        let expired = self.sessions.slots.iter().map(|(_, session)| session);
        let expired = expired.filter(|s| s.kept && !s.inbox.is_attached() && s.is_expired(now));
        for session in expired {
            self.tell(&session.key, &Change::Expired { connection: session.connection });
        }
    }

    /// Drops messages that have waited longer than any may. Those that are taken are looked at one by one; this is for
    /// sessions that take none.
    fn drop_old(&mut self, now: Timestamp) {
        let marks = &mut self.upkeep.marks;
        marks.push_back((self.position, now));
        let is_old = |at: Timestamp| now.0.saturating_sub(at.0) > self.bounds.age;
        let mut horizon = None;
        while let Some((offset, _)) = marks.pop_front_if(|(_, at)| is_old(*at)) {
            horizon = Some(offset);
        }
        if let Some(horizon) = horizon {
            self.sessions.slots.iter().for_each(|(_, session)| session.inbox.drop_before(horizon));
        }
    }

    /// Stores how far clients have come, which is little, and often: after a crash they get again what is newer.
    fn note_progress(&mut self) {
        let work = self.work.clone();
        let Ok(permit) = work.try_reserve() else { return };
        let (sessions, shared_queues) = self.progress();
        if !sessions.is_empty() || !shared_queues.is_empty() {
            permit.send(Work::Done(sessions, shared_queues));
        }
    }

    /// Sessions and shared subscriptions that have come further since the last call, and how far.
    fn progress(&mut self) -> (DoneMarks, DoneMarks) {
        let (mut sessions, mut shared_queues) = (Vec::new(), Vec::new());
        for (_, session) in &mut self.sessions.slots {
            let done = if session.kept { session.inbox.done_mark() } else { session.done };
            if done > session.done {
                session.done = done;
                session.changed = true;
                sessions.push((session.key.as_str().to_owned(), done));
            }
        }
        for (_, shared) in &mut self.sessions.shared {
            let done = shared.queue.done_mark();
            if done > shared.done {
                shared.done = done;
                shared.changed = true;
                shared_queues.push((shared.queue.name.clone(), done));
            }
        }
        (sessions, shared_queues)
    }

    fn save(&mut self, now: Instant) {
        // While the last step is still being stored, this one waits.
        let work = self.work.clone();
        let Ok(permit) = work.try_reserve() else { return };
        // Whatever has come further is part of the step.
        let _marks = self.progress();
        permit.send(Work::Step(Box::new(self.capture())));
        self.upkeep.saved_at = now;
        self.upkeep.saved = self.position;
        self.upkeep.is_new = false;
    }

    /// Stores everything, at the end.
    pub(super) async fn finish(mut self) {
        self.let_go();
        let _marks = self.progress();
        let step = Box::new(self.capture());
        // Its answer comes when the store has it; nobody is left to send more.
        if self.work.send(Work::Step(step)).await.is_err() {
            tracing::warn!("sessions were not stored at the end; the next start reads more of the log");
        }
    }

    /// Says what the log must keep, and copies out of it what would keep it longer than it should.
    fn look_after_log(&mut self) {
        if let Some(mut copying) = self.upkeep.copying.take() {
            match copying.try_recv() {
                Ok(stored) => self.are_stored(&stored),
                Err(oneshot::error::TryRecvError::Empty) => self.upkeep.copying = Some(copying),
                Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
        let kept = || self.sessions.slots.iter().map(|(_, session)| session).filter(|session| session.kept);
        let in_inboxes = kept().filter_map(|session| session.inbox.lowest());
        let in_queues = self.sessions.shared.iter().filter_map(|(_, shared)| shared.queue.lowest());
        let lowest = in_inboxes.chain(in_queues).min().unwrap_or(self.position);
        self.state.raise_floor(lowest.min(self.state.saved()));
        let horizon = self.log.droppable();
        if lowest >= horizon || self.upkeep.copying.is_some() {
            return;
        }
        let mut needs: Vec<Need> = Vec::new();
        let needed = |owner: &str, rows: Vec<(Offset, u64)>| {
            let owner: Arc<str> = owner.into();
            rows.into_iter().map(move |(offset, number)| Need { offset, owner: Arc::clone(&owner), number })
        };
        for session in kept() {
            needs.extend(needed(session.key.as_str(), session.inbox.in_log_before(horizon)));
        }
        for (_, shared) in &self.sessions.shared {
            needs.extend(needed(&shared.queue.name, shared.queue.in_log_before(horizon)));
        }
        needs.sort_by_key(|need| need.offset);
        needs.truncate(COPIED_AT_ONCE);
        let (done, copying) = oneshot::channel();
        if self.work.try_send(Work::Copy(needs, done)).is_ok() {
            self.upkeep.copying = Some(copying);
        }
    }

    fn are_stored(&mut self, stored: &Stored) {
        for (_, session) in &mut self.sessions.slots {
            if let Some(numbers) = stored.get(session.key.as_str()) {
                session.inbox.are_stored(|number| numbers.contains(&number));
                session.changed = true;
            }
        }
        for (_, shared) in &mut self.sessions.shared {
            if let Some(numbers) = stored.get(&shared.queue.name) {
                shared.queue.are_stored(|number| numbers.contains(&number));
                shared.changed = true;
            }
        }
    }
}

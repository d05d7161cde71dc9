//! What appenders, the writer and readers of one log have in common.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use weir_core::Offset;

use crate::{
    AppendError, Clock, LogOptions, Pins, Record,
    disk::Source,
    frame::MAX_INDEX,
    group::Group,
    options::MAX_APPEND_BYTES,
    retention::{Retention, age, is_droppable},
    segment::{Segment, SegmentList},
    storage::Storage,
    tail::Tail,
    watermark::{Stop, Watermark},
};

/// No archive copies the log.
const NO_ARCHIVE: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: LogOptions,
    pub(crate) clock: Clock,
    /// Held for as long as it takes to copy records in, or to swap the group out.
    pub(crate) state: Mutex<State>,
    /// Wakes the writer.
    pub(crate) wake: Condvar,
    /// Wakes appenders that found the group full.
    pub(crate) space: Notify,
    /// Held for look-ups only, never while files are read or written.
    pub(crate) segments: Mutex<SegmentList>,
    /// Held for look-ups only.
    pub(crate) tail: Mutex<Tail>,
    pub(crate) appended: Watermark,
    pub(crate) durable: Watermark,
    pub(crate) records: AtomicU64,
    pub(crate) syncs: AtomicU64,
    /// Bytes of all segments.
    bytes: AtomicU64,
    /// The pins told last. Held while segments are dropped, so that they go oldest first.
    pins: Mutex<Pins>,
    /// What an archive has copied of the log, if one copies it: [`Shared::archived`]. All ones: none does.
    archived: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) pending: Group,
    /// The offset of the next record.
    pub(crate) next: Offset,
    pub(crate) writer: Waiting,
    /// No more records are taken; the writer writes the pending ones and ends.
    pub(crate) closing: bool,
    /// The epoch has no offsets left. The next opening has, so this ends the log as a failure would.
    pub(crate) exhausted: bool,
    /// The segment has grown old and is to be sealed.
    pub(crate) seal: bool,
    /// The writer has ended.
    pub(crate) stopped: bool,
}

/// What the writer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Nothing: it is at work and will look again.
    Nothing,
    /// Any record.
    Record,
    /// A record that somebody waits for, or a full group: others are gathered for a while.
    Urgency,
}

impl Shared {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        options: LogOptions,
        clock: Clock,
        segments: SegmentList,
        end: Offset,
        next: Offset,
    ) -> Self {
        let state = State {
            pending: Group::default(),
            next,
            writer: Waiting::Nothing,
            closing: false,
            exhausted: false,
            seal: false,
            stopped: false,
        };
        Self {
            storage,
            clock,
            state: Mutex::new(state),
            wake: Condvar::new(),
            space: Notify::new(),
            tail: Mutex::new(Tail::new(end, options.tail_bytes)),
            appended: Watermark::new(end),
            durable: Watermark::new(end),
            records: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            bytes: AtomicU64::new(segments.bytes()),
            segments: Mutex::new(segments),
            pins: Mutex::default(),
            archived: AtomicU64::new(NO_ARCHIVE),
            options,
        }
    }

    pub(crate) fn append(&self, records: &[Record<'_>], reserved: bool) -> Result<Offset, AppendError> {
        let size = records.iter().map(Record::bytes).sum();
        if size > MAX_APPEND_BYTES {
            return Err(AppendError::TooLarge { size, limit: MAX_APPEND_BYTES });
        }
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.closing || state.stopped {
            return Err(AppendError::Failed);
        }
        if self.is_full(&state) {
            return Err(AppendError::Busy);
        }
        if self.bytes.load(Ordering::Relaxed) >= self.options.bound(reserved) {
            return Err(AppendError::Full);
        }
        let first = state.next;
        if first.index() + records.len() as u64 >= MAX_INDEX {
            state.exhausted = true;
            drop(state);
            self.close();
            return Err(AppendError::Failed);
        }
        state.pending.extend(first, now, records, size);
        state.next = first.plus(records.len() as u64);
        let wake = match state.writer {
            Waiting::Nothing => false,
            Waiting::Record => true,
            Waiting::Urgency => state.pending.is_acknowledged() || self.is_full(&state),
        };
        if wake {
            state.writer = Waiting::Nothing;
            drop(state);
            self.wake.notify_one();
        }
        Ok(first)
    }

    /// Whether the pending group takes no more records.
    pub(crate) fn is_full(&self, state: &State) -> bool {
        state.pending.rows() >= self.options.group_rows || state.pending.bytes() >= self.options.group_bytes
    }

    /// Tells the writer to write what is pending and to end.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.wake.notify_one();
        self.space.notify_waiters();
    }

    /// Tells everybody that nothing will follow.
    pub(crate) fn stop(&self, stop: Stop) {
        self.state.lock().stopped = true;
        self.appended.stop(stop);
        self.durable.stop(stop);
        self.space.notify_waiters();
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source { storage: self.storage.as_ref(), segments: &self.segments }
    }

    /// Drops segments as far as the bounds demand and the pins (the last ones, if none are told) allow.
    pub(crate) fn retain(&self, pins: Option<Pins>) -> io::Result<()> {
        let mut known = self.pins.lock();
        *known = pins.unwrap_or(*known);
        let retention = Retention { options: &self.options, pins: self.with_archive(*known), now: self.clock.now() };
        if self.segments.lock().growing().is_some_and(|segment| self.is_old(segment)) {
            self.state.lock().seal = true;
            self.wake.notify_one();
        }
        let mut outcome = Ok(());
        while outcome.is_ok() {
            let oldest = {
                let mut segments = self.segments.lock();
                let total = segments.bytes();
                let droppable = segments.sealed().next().is_some_and(|oldest| is_droppable(&retention, &oldest, total));
                if droppable { segments.take_oldest() } else { None }
            };
            let Some(oldest) = oldest else { break };
            // One by one and each for good: after a crash there is never a gap. One that is gone already is what is left
            // of an attempt that failed at the second step.
            outcome = match self.storage.remove(&oldest.name().to_string()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => self.storage.sync_directory(),
            };
            match &outcome {
                Ok(()) => tracing::debug!(segment = %oldest.name(), "dropped a segment"),
                Err(_) => self.segments.lock().put_back(oldest),
            }
        }
        self.bytes.store(self.segments.lock().bytes(), Ordering::Relaxed);
        outcome
    }

    /// One past the last record of the segments that only `pins.floor` may keep.
    pub(crate) fn droppable(&self) -> Offset {
        let pins = Pins { floor: Offset(u64::MAX), ..self.with_archive(*self.pins.lock()) };
        let retention = Retention { options: &self.options, pins, now: self.clock.now() };
        let segments = self.segments.lock();
        let (mut total, mut end) = (segments.bytes(), segments.oldest());
        for sealed in segments.sealed() {
            if !is_droppable(&retention, &sealed, total) {
                break;
            }
            total -= sealed.bytes;
            end = sealed.end;
        }
        end
    }

    /// Takes note that an archive has copied what lies below `offset`.
    pub(crate) fn archived(&self, offset: Offset) {
        self.archived.store(offset.0, Ordering::Relaxed);
    }

    /// An archive reads the log as an action does: it keeps what it still has to copy, until the disk is full.
    fn with_archive(&self, pins: Pins) -> Pins {
        match self.archived.load(Ordering::Relaxed) {
            NO_ARCHIVE => pins,
            archived => Pins { actions: pins.actions.into_iter().chain([Offset(archived)]).min(), ..pins },
        }
    }

    /// Whether a segment is to be sealed because of its age, so that its records can be dropped when they are old.
    pub(crate) fn is_old(&self, segment: &Segment) -> bool {
        age(segment.created_at, self.clock.now()) > self.options.segment_age()
    }

    /// Takes note of a longer log, and drops segments if it is too long.
    pub(crate) fn has_grown(&self) {
        let bytes = self.segments.lock().bytes();
        if bytes < self.options.max_bytes {
            self.bytes.store(bytes, Ordering::Relaxed);
        } else if let Err(error) = self.retain(None) {
            // Not the end: appends are refused until it works.
            tracing::error!(storage = %self.storage, %error, "dropping a segment failed");
        }
    }
}

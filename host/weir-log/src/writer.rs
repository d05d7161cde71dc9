//! The one thread that writes: takes the pending group, writes it as one frame, tells readers, syncs, tells waiters.
//!
//! While it works, arrivals form the next group, so the slower the disk, the larger the groups. Records that somebody
//! waits for are never held back; others are gathered for a moment.

use std::{
    io, mem,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use weir_core::Offset;

use crate::{
    SyncPolicy,
    frame::Encoder,
    group::Group,
    segment::Segment,
    shared::{Shared, State, Waiting},
    storage::AppendFile,
    watermark::Stop,
};

/// How long records that nobody waits for are gathered, so that they are written within a millisecond.
const GATHERED_FOR: Duration = Duration::from_micros(800);
/// How long they may be written without being synced, under [`SyncPolicy::Always`].
const UNSYNCED_FOR: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    segment: Arc<Segment>,
    file: Box<dyn AppendFile>,
    /// Bytes in the file.
    length: u64,
    encoder: Encoder,
    /// The group that is being written, or an empty one.
    group: Group,
    /// The offset of the next frame.
    next: Offset,
    /// One past the last record written.
    written: Offset,
    /// One past the last record synced.
    synced: Offset,
    /// When the oldest write that is not synced was made.
    unsynced_since: Option<Instant>,
    last_sync: Option<Instant>,
}

enum Work {
    Write,
    Sync,
    Seal,
    Close,
}

impl Writer {
    /// A writer to an empty segment.
    pub(crate) fn new(shared: Arc<Shared>, segment: Arc<Segment>, file: Box<dyn AppendFile>) -> io::Result<Self> {
        Ok(Self {
            file,
            length: segment.header_bytes,
            encoder: Encoder::new().map_err(io::Error::other)?,
            group: Group::default(),
            next: segment.first(),
            written: segment.previous,
            synced: segment.previous,
            unsynced_since: None,
            last_sync: None,
            segment,
            shared,
        })
    }

    /// Writes until the log is closed, or a write or sync fails. After a failure nothing is known of what the disk
    /// has, so nothing more is written or called durable.
    pub(crate) fn run(mut self) {
        loop {
            let outcome = match self.next_work() {
                Work::Write => self.write(),
                Work::Sync => self.sync(),
                Work::Seal => self.roll(),
                Work::Close => match self.sync() {
                    Ok(()) if !self.shared.state.lock().exhausted => return self.shared.stop(Stop::Closed),
                    Ok(()) => Err(io::Error::other("the epoch has no offsets left, opening the log starts a new one")),
                    failed => failed,
                },
            };
            if let Err(error) = outcome {
                tracing::error!(storage = %self.shared.storage, segment = %self.segment.name, %error, "log failed");
                return self.shared.stop(Stop::Failed);
            }
        }
    }

    /// Waits until there is something to do. For [`Work::Write`], the group is swapped in.
    fn next_work(&mut self) -> Work {
        let sync_at = self.sync_at();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        loop {
            let write_at = self.write_at(&state);
            if write_at.is_none() && state.closing {
                return Work::Close;
            }
            let now = Instant::now();
            if sync_at.is_some_and(|at| at <= now) {
                return Work::Sync;
            }
            if write_at.is_some_and(|at| at <= now) {
                mem::swap(&mut state.pending, &mut self.group);
                drop(state);
                shared.space.notify_waiters();
                return Work::Write;
            }
            if write_at.is_none() && mem::take(&mut state.seal) && self.has_frames() {
                return Work::Seal;
            }
            state.writer = if write_at.is_some() { Waiting::Urgency } else { Waiting::Record };
            match write_at.into_iter().chain(sync_at).min() {
                Some(at) => drop(shared.wake.wait_until(&mut state, at)),
                None => shared.wake.wait(&mut state),
            }
            state.writer = Waiting::Nothing;
        }
    }

    /// When the pending group is to be written.
    fn write_at(&self, state: &State) -> Option<Instant> {
        let started = state.pending.started()?;
        let urgent = state.pending.is_acknowledged() || state.closing || self.shared.is_full(state);
        Some(if urgent { started } else { started + GATHERED_FOR })
    }

    /// When what was written is to be synced.
    fn sync_at(&self) -> Option<Instant> {
        let since = self.unsynced_since?;
        match self.shared.options.sync {
            SyncPolicy::Always => Some(since + UNSYNCED_FOR),
            SyncPolicy::Interval(interval) => Some(self.last_sync.map_or(since, |last| last + interval)),
            SyncPolicy::Never => None,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let frame = Arc::new(self.group.build().map_err(io::Error::other)?);
        self.group.clear();
        let bytes = self.encoder.encode(&frame).map_err(io::Error::other)?;
        let is_full = self.length + bytes > self.shared.options.segment_bytes;
        if self.has_frames() && (is_full || self.shared.is_old(&self.segment)) {
            self.roll()?;
        }
        self.file.append(self.encoder.finish(self.segment.salt, self.synced))?;
        self.length += bytes;
        (self.written, self.next) = (frame.next, frame.next);
        self.unsynced_since.get_or_insert_with(Instant::now);

        self.shared.records.fetch_add(frame.next.0 - frame.first.0, Ordering::Relaxed);
        self.shared.segments.lock().grow(self.length, self.written);
        let acknowledged = frame.acknowledged;
        self.shared.tail.lock().push(frame);
        self.shared.appended.raise(self.written);
        match self.shared.options.sync {
            SyncPolicy::Always if acknowledged => self.sync()?,
            SyncPolicy::Never => self.shared.durable.raise(self.written),
            _ => {}
        }
        self.shared.has_grown();
        Ok(())
    }

    fn has_frames(&self) -> bool {
        self.length > self.segment.header_bytes
    }

    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced_since.take().is_none() {
            return Ok(());
        }
        self.file.sync()?;
        self.last_sync = Some(Instant::now());
        self.synced = self.written;
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        self.shared.durable.raise(self.synced);
        Ok(())
    }

    /// Seals the segment and starts the next one. A sealed segment is synced whatever the policy: only the last segment
    /// may have a torn tail.
    fn roll(&mut self) -> io::Result<()> {
        self.sync()?;
        let storage = self.shared.storage.as_ref();
        let (segment, file) = Segment::create(storage, self.next, self.written, self.shared.clock.now())?;
        self.length = segment.header_bytes;
        self.shared.segments.lock().push(Arc::clone(&segment), self.length, self.written);
        (self.segment, self.file) = (segment, file);
        Ok(())
    }
}

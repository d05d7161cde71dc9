//! The log as its users hold it.

use std::{
    fmt, io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Instant,
};

use tokio::sync::watch;
use weir_core::Offset;

use crate::{
    AppendError, Clock, Durable, LogOptions, OpenError, Pins, Reader, Record,
    recovery::{Recovered, recover},
    segment::Segment,
    shared::Shared,
    storage::Storage,
    watermark::Stop,
    writer::Writer,
};

/// Offsets have 24 bits for the epoch.
const MAX_EPOCH: u32 = (1 << 24) - 1;

/// A handle; clones share the log. When the last one is dropped, what is pending is still written, but nobody waits
/// for it: use [`Log::close`].
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    /// Becomes true, or loses its sender, when the writer has ended and let go of the storage.
    ended: watch::Receiver<bool>,
}

/// What the log is like at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStats {
    pub segments: usize,
    /// Bytes of all segments.
    pub bytes: u64,
    pub oldest: Offset,
    pub appended: Offset,
    pub durable: Offset,
    /// Records written since the log was opened.
    pub records: u64,
    /// Syncs of records since the log was opened.
    pub syncs: u64,
    /// A write or sync has failed.
    pub failed: bool,
}

impl Log {
    /// Recovers what `storage` holds, starts a new epoch and the writer's thread. Blocks on the storage.
    pub fn open(storage: Arc<dyn Storage>, options: LogOptions, clock: Clock) -> Result<Self, OpenError> {
        let options = options.consistent();
        let Recovered { mut segments, end, epoch } = recover(storage.as_ref())?;
        if epoch >= MAX_EPOCH {
            return Err(OpenError::EpochsExhausted(epoch));
        }
        let failed = |what: &'static str| {
            let storage = storage.to_string();
            move |source| OpenError::Io { storage, what: what.to_owned(), source }
        };
        let next = Offset::new(epoch + 1, 0);
        let created = Segment::create(storage.as_ref(), next, end, clock.now());
        let (segment, file) = created.map_err(failed("making a segment"))?;
        segments.push(Arc::clone(&segment), segment.header_bytes, end);
        // The new segment carries the epoch on, so that those of openings without a record are not needed any more.
        for empty in segments.take_empty() {
            storage.remove(&empty.name.to_string()).map_err(failed("removing an empty segment"))?;
        }

        let shared = Arc::new(Shared::new(Arc::clone(&storage), options, clock, segments, end, next));
        let writer = Writer::new(Arc::clone(&shared), segment, file).map_err(failed("making the writer"))?;
        let (ended, has_ended) = watch::channel(false);
        let stop = StopOnPanic(Arc::clone(&shared));
        let run = move || {
            writer.run();
            drop(stop);
            ended.send_replace(true);
        };
        thread::Builder::new()
            .name("weir-log".to_owned())
            .spawn(run)
            .map_err(failed("starting the writer's thread"))?;
        Ok(Self { handle: Arc::new(Handle { shared, ended: has_ended }) })
    }

    /// Appends all records or none, in order and with consecutive offsets, and returns the first one's. Short: they
    /// are copied into the pending group.
    pub fn try_append(&self, records: &[Record<'_>]) -> Result<Offset, AppendError> {
        self.shared().append(records, false)
    }

    /// As [`Log::try_append`], for what the hub itself appends: 5 % of `max_bytes` are reserved for it, so that it is
    /// not refused for what it is about to make room for.
    pub fn try_append_reserved(&self, records: &[Record<'_>]) -> Result<Offset, AppendError> {
        self.shared().append(records, true)
    }

    /// As [`Log::try_append`], but waits while the log is busy. Cancel-safe: either nothing was appended or it returned.
    pub async fn append(&self, records: &[Record<'_>]) -> Result<Offset, AppendError> {
        self.append_when_ready(records, false).await
    }

    /// As [`Log::try_append_reserved`], but waits while the log is busy. Cancel-safe.
    pub async fn append_reserved(&self, records: &[Record<'_>]) -> Result<Offset, AppendError> {
        self.append_when_ready(records, true).await
    }

    async fn append_when_ready(&self, records: &[Record<'_>], reserved: bool) -> Result<Offset, AppendError> {
        loop {
            match self.shared().append(records, reserved) {
                Err(AppendError::Busy) => self.ready().await,
                outcome => return outcome,
            }
        }
    }

    /// Waits until an append would not be told to wait (nor is it promised that none comes first). Cancel-safe.
    pub async fn ready(&self) {
        loop {
            let space = self.shared().space.notified();
            let mut space = std::pin::pin!(space);
            // From here on the writer's notice counts, so none is missed between looking and waiting.
            space.as_mut().enable();
            if !self.is_busy() {
                return;
            }
            space.await;
        }
    }

    fn is_busy(&self) -> bool {
        let state = self.shared().state.lock();
        !state.closing && !state.stopped && self.shared().is_full(&state)
    }

    pub fn durable(&self) -> Durable {
        Durable::new(&self.shared().durable)
    }

    /// That of the offsets of records that are appended now: no other opening has the same.
    pub fn epoch(&self) -> u32 {
        self.shared().state.lock().next.epoch()
    }

    /// One past the last record that was written.
    pub fn appended(&self) -> Offset {
        self.shared().appended.get().offset
    }

    /// Every record at this offset or after is still held.
    pub fn oldest(&self) -> Offset {
        self.shared().segments.lock().oldest()
    }

    /// Reads from the first record at or after `from`, or from [`Log::oldest`] if that is later.
    pub fn reader(&self, from: Offset) -> Reader {
        Reader::new(Arc::clone(self.shared()), from)
    }

    /// Drops sealed segments, oldest first: beyond `retain_bytes` or older than `retain_age` if nobody needs them;
    /// beyond `max_bytes` also if actions do (they find [`Log::oldest`] above their position), but never at or above
    /// `pins.floor`. The pins are remembered for when `max_bytes` is reached between two calls. Blocks on the storage.
    ///
    /// Lets go, too, of decoded frames that every reader at the head has long had.
    pub fn enforce_retention(&self, pins: Pins) -> io::Result<()> {
        self.shared().tail.lock().forget_old(Instant::now());
        self.shared().retain(Some(pins))
    }

    /// One past the last record of the sealed segments: what comes before is durable and does not change any more.
    pub fn sealed(&self) -> Offset {
        let segments = self.shared().segments.lock();
        segments.sealed().last().map_or_else(|| segments.oldest(), |sealed| sealed.end)
    }

    /// Bytes of the sealed segments with records at or after `offset`.
    pub fn sealed_bytes(&self, offset: Offset) -> u64 {
        let segments = self.shared().segments.lock();
        segments.sealed().filter(|sealed| sealed.end > offset).map(|sealed| sealed.bytes).sum()
    }

    /// Tells that an archive has copied what lies below `offset`. From the first call on, retention keeps what the archive
    /// still has to copy as it does for actions: until `max_bytes` is reached.
    pub fn archived(&self, offset: Offset) {
        self.shared().archived(offset);
    }

    /// What lies below would be dropped now, as far as size, age and actions are concerned, if delivery did not need it.
    pub fn droppable(&self) -> Offset {
        self.shared().droppable()
    }

    pub fn stats(&self) -> LogStats {
        let shared = self.shared();
        let durable = shared.durable.get();
        let segments = shared.segments.lock();
        LogStats {
            segments: segments.len(),
            bytes: segments.bytes(),
            oldest: segments.oldest(),
            appended: shared.appended.get().offset,
            durable: durable.offset,
            records: shared.records.load(Ordering::Relaxed),
            syncs: shared.syncs.load(Ordering::Relaxed),
            failed: durable.stop == Some(Stop::Failed),
        }
    }

    /// Resolves when a write or sync has failed. The log accepts nothing any more then, and what was not durable may
    /// be lost.
    pub async fn failed(&self) {
        let mut marks = self.shared().durable.subscribe();
        // The sender lives as long as this handle, so this is no busy loop and ends only when it should.
        if marks.wait_for(|mark| mark.stop == Some(Stop::Failed)).await.is_err() {
            std::future::pending().await
        }
    }

    /// Writes and syncs what is pending and ends the writer. Appends fail from now on. When this returns, the log no
    /// longer writes to its storage.
    pub async fn close(&self) {
        self.shared().close();
        // An error means that the thread is gone, which is as good.
        let _ended = self.handle.ended.clone().wait_for(|ended| *ended).await.is_ok();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("storage", &self.shared().storage).field("stats", &self.stats()).finish()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Without a writer nothing gets durable, so nobody may go on waiting for it.
struct StopOnPanic(Arc<Shared>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        self.0.stop(Stop::Failed);
    }
}

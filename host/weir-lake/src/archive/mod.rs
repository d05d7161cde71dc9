//! The lake: sealed segments of the log as Parquet in an object store.
//!
//! Promises: every message of the log is in the lake once, or not yet, whatever crashes; what is in it survives a power
//! cut before the log is told that it may let go. Messages are told apart by their offsets alone, so whoever reads both
//! begins with the log where the lake ends.
//!
//! One task owns the lake and changes it ([`Archive::run`]): it compacts, drops what is too old or too much, and removes
//! files that nobody reads any more. Readers hold a snapshot, whose files stay as long as they do.

mod compact;
mod error;
mod manifest;
mod options;
mod place;
mod write;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use weir_core::{
    Offset, Timestamp,
    history::{LakeState, LakeStatus, LakeView},
};
use weir_log::{Clock, Log};

pub use self::{
    error::LakeError,
    options::{LakeCompression, LakeOptions, Location, S3Location},
};
use self::{
    manifest::{COMMITS, Commit, commit_number, commit_path, first_to_read},
    place::Created,
};
pub(crate) use self::{
    manifest::{DataFile, Snapshot},
    place::Place,
};

/// The longest wait after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A handle; clones share the lake.
#[derive(Debug, Clone)]
pub struct Archive(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: LakeOptions,
    place: Place,
    log: Log,
    clock: Clock,
    /// `None` until it was read for the first time.
    snapshot: ArcSwapOption<Snapshot>,
    /// Files that no commit names any more. Guards a list for one push or one take; only the owning task does either.
    doomed: Mutex<Vec<Arc<DataFile>>>,
    /// What went wrong last, if nothing has gone well since. Guards a text for one look.
    failure: Mutex<Option<String>>,
    /// What was made of the last commit is not known: commits are read again before the next.
    stale: AtomicBool,
    compacting: AtomicBool,
    compacted_rows: AtomicU64,
    skipped: AtomicU64,
}

impl Archive {
    /// Makes the handle. From here on the log keeps what is not in the lake, as far as it has room.
    pub fn new(options: LakeOptions, log: Log, clock: Clock) -> Result<Self, LakeError> {
        let place = Place::open(&options.location)?;
        log.archived(Offset::ZERO);
        Ok(Self(Arc::new(Inner {
            options,
            place,
            log,
            clock,
            snapshot: ArcSwapOption::empty(),
            doomed: Mutex::default(),
            failure: Mutex::default(),
            stale: AtomicBool::new(true),
            compacting: AtomicBool::new(false),
            compacted_rows: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        })))
    }

    /// Reads what the lake holds, and removes what no commit names: the remains of a crash.
    pub async fn open(&self) -> Result<(), LakeError> {
        let snapshot = self.read().await?;
        let epoch = self.0.log.epoch();
        if snapshot.to.epoch() >= epoch {
            return Err(LakeError::Ahead { to: snapshot.to, epoch });
        }
        let known: std::collections::HashSet<&str> = snapshot.files.iter().map(|file| file.path.as_str()).collect();
        for path in self.0.place.list(None).await? {
            let is_data = path.as_ref().starts_with("day=");
            if is_data && !known.contains(path.as_ref()) {
                tracing::debug!(%path, "removing a file that no commit of the lake names");
                self.0.place.remove(&path).await?;
            }
        }
        self.0.log.archived(snapshot.to);
        self.0.snapshot.store(Some(Arc::new(snapshot)));
        self.0.stale.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps the lake until `ended` resolves.
    pub async fn run(self, ended: impl Future<Output = ()>) {
        let stop = Arc::new(AtomicBool::new(false));
        let work = async {
            let mut pause = self.0.options.interval;
            loop {
                match self.turn(&stop).await {
                    Ok(()) => {
                        self.0.failure.lock().take();
                        pause = self.0.options.interval;
                    }
                    Err(error) => {
                        let reason = chain(&error);
                        tracing::error!(location = %self.0.options.location, reason, "the lake cannot be written to");
                        *self.0.failure.lock() = Some(reason);
                        self.0.stale.store(true, Ordering::Relaxed);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = ended => stop.store(true, Ordering::Relaxed),
        }
    }

    /// Does what there is to do now, as [`Archive::run`] does from time to time.
    pub async fn settle(&self) -> Result<(), LakeError> {
        self.turn(&Arc::default()).await
    }

    /// Compacts all sealed segments, then drops what is too old or too much.
    async fn turn(&self, stop: &Arc<AtomicBool>) -> Result<(), LakeError> {
        if self.0.stale.load(Ordering::Relaxed) {
            self.open().await?;
        }
        self.0.compacting.store(true, Ordering::Relaxed);
        let compacted = self.compact(stop).await;
        self.0.compacting.store(false, Ordering::Relaxed);
        compacted?;
        self.retain().await?;
        self.remove_doomed().await
    }

    async fn compact(&self, stop: &Arc<AtomicBool>) -> Result<(), LakeError> {
        while self.compact_some(stop).await? {}
        Ok(())
    }

    /// Compacts some of the log, in one commit. False: there is nothing to compact.
    async fn compact_some(&self, stop: &Arc<AtomicBool>) -> Result<bool, LakeError> {
        let inner = &self.0;
        let snapshot = self.snapshot()?;
        let (sealed, oldest) = (inner.log.sealed(), inner.log.oldest());
        if snapshot.to >= sealed || stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let from = snapshot.to.max(oldest);
        if snapshot.number > 0 && oldest > snapshot.to {
            let lost = if oldest.epoch() == snapshot.to.epoch() { oldest.0 - snapshot.to.0 } else { oldest.index() };
            inner.skipped.fetch_add(lost, Ordering::Relaxed);
            tracing::warn!(from = %snapshot.to, to = %oldest, "the log was full and dropped records that are not in the lake");
        }
        let job = compact::Job {
            log: inner.log.clone(),
            from,
            to: sealed,
            commit: snapshot.number + 1,
            options: inner.options.clone(),
            stop: Arc::clone(stop),
        };
        let made = tokio::task::spawn_blocking(move || job.run()).await;
        let made = made.map_err(|error| LakeError::Io(std::io::Error::other(error)))??;
        let Some(made) = made else { return Ok(false) };
        let mut files = Vec::with_capacity(made.files.len());
        for (file, scratch) in made.files {
            inner.place.upload(&object_store::path::Path::from(file.path.as_str()), scratch).await?;
            files.push(Arc::new(file));
        }
        let rows: u64 = files.iter().map(|file| file.rows - file.ticks).sum();
        self.commit(&snapshot, from, made.to, files, Vec::new()).await?;
        inner.compacted_rows.fetch_add(rows, Ordering::Relaxed);
        Ok(true)
    }

    /// Makes one change of the lake, and tells the log how far it is.
    async fn commit(
        &self,
        snapshot: &Snapshot,
        from: Offset,
        to: Offset,
        add: Vec<Arc<DataFile>>,
        drop: Vec<String>,
    ) -> Result<(), LakeError> {
        let (commit, next) = snapshot.commit(&self.0.options.hub, from, to, add, drop);
        let content = serde_json::to_vec(&commit).map_err(|error| LakeError::Io(error.into()))?;
        let path = commit_path(commit.number);
        if self.0.place.create(&path, content.clone()).await? == Created::Before {
            // An answer may have been lost: then the commit is this one.
            let found = self.0.place.read(&path).await?;
            if serde_json::from_slice::<Commit>(&found).ok().as_ref() != Some(&commit) {
                return Err(LakeError::Foreign);
            }
        }
        self.0.log.archived(next.to);
        self.0.snapshot.store(Some(Arc::new(next)));
        if commit.all.is_some() {
            self.remove_commits(commit.number).await?;
        }
        Ok(())
    }

    /// Commits before one that names all files are not read any more.
    async fn remove_commits(&self, before: u64) -> Result<(), LakeError> {
        for path in self.0.place.list(Some(COMMITS)).await? {
            if commit_number(&path).is_some_and(|number| number < before) {
                self.0.place.remove(&path).await?;
            }
        }
        Ok(())
    }

    /// Drops the files that are too old, and the oldest while there is too much.
    async fn retain(&self) -> Result<(), LakeError> {
        let snapshot = self.snapshot()?;
        let options = &self.0.options;
        let age = i64::try_from(options.retain_age.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp(self.0.clock.now().0.saturating_sub(age));
        let mut bytes = snapshot.bytes();
        let mut dropped = Vec::new();
        for file in &snapshot.files {
            if file.newest < oldest || bytes > options.retain_bytes {
                bytes -= file.bytes;
                dropped.push(Arc::clone(file));
            }
        }
        if dropped.is_empty() {
            return Ok(());
        }
        let paths = dropped.iter().map(|file| file.path.clone()).collect();
        self.commit(&snapshot, snapshot.to, snapshot.to, Vec::new(), paths).await?;
        tracing::debug!(files = dropped.len(), "dropped files of the lake");
        self.0.doomed.lock().append(&mut dropped);
        Ok(())
    }

    /// Removes dropped files that no reader holds.
    async fn remove_doomed(&self) -> Result<(), LakeError> {
        let (removed, kept) = std::mem::take(&mut *self.0.doomed.lock())
            .into_iter()
            .partition::<Vec<_>, _>(|file| Arc::strong_count(file) == 1);
        *self.0.doomed.lock() = kept;
        for file in removed {
            self.0.place.remove(&object_store::path::Path::from(file.path.as_str())).await?;
        }
        Ok(())
    }

    /// Reads the commits.
    async fn read(&self) -> Result<Snapshot, LakeError> {
        let numbers = self.0.place.list(Some(COMMITS)).await?;
        let Some(last) = numbers.iter().filter_map(commit_number).max() else { return Ok(Snapshot::default()) };
        let mut snapshot = Snapshot::default();
        for number in first_to_read(last)..=last {
            let content = self.0.place.read(&commit_path(number)).await?;
            snapshot = snapshot.follow(number, &content, &self.0.options.hub)?;
        }
        Ok(snapshot)
    }

    /// What the lake holds now.
    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, LakeError> {
        self.0.snapshot.load_full().ok_or_else(|| LakeError::Closed(self.0.failure.lock().clone()))
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0.place
    }
}

impl LakeView for Archive {
    fn status(&self) -> LakeStatus {
        let inner = &self.0;
        let known = inner.snapshot.load_full();
        let error = inner.failure.lock().clone();
        let state = match (&error, &known) {
            (Some(_), _) => LakeState::Failing,
            (None, None) => LakeState::Opening,
            _ if inner.compacting.load(Ordering::Relaxed) => LakeState::Compacting,
            _ => LakeState::Idle,
        };
        let snapshot = known.unwrap_or_default();
        LakeStatus {
            location: inner.options.location.to_string(),
            state,
            error,
            files: snapshot.files.len() as u64,
            bytes: snapshot.bytes(),
            rows: snapshot.rows(),
            oldest_time: snapshot.oldest(),
            compacted_to: snapshot.to,
            pending_bytes: inner.log.sealed_bytes(snapshot.to),
            skipped: inner.skipped.load(Ordering::Relaxed),
            compacted_rows: inner.compacted_rows.load(Ordering::Relaxed),
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

//! The windows of a rule at work: a reader of the log of its own, which appends what closes to the log.
//!
//! A row names the record by which its window closed and its place among what that record closed (its mark), and marks
//! grow. State and position are stored together from time to time, once every row of before is durable. After a crash the
//! records since then are read again, the same windows close by the same records, and rows are passed over up to the
//! greatest mark that the log holds already. So each row is in the log once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use weir_core::{
    Envelope, Offset, Protocol, Qos, RuleName, Timestamp,
    schema::Records,
    seams::Evaluator,
    windows::{
        WindowMark, WindowRow, WindowShape, WindowStanding, WindowStream, WindowTally, Windows, late_topic, rows_topic,
    },
};
use weir_log::{AppendError, Frame, ReadError, Reader, Record};
use weir_store::{SavedWindows, Store};

use super::{action::Shared, table::LiveRule};
use crate::Drain;

/// Rows, and bytes of them, in one append.
const AT_ONCE: usize = 1_024;
const BYTES_AT_ONCE: usize = 512 << 10;
/// How often the position is stored where no window has changed.
const NOTE: Duration = Duration::from_secs(60);
/// Storing takes at most one part in so many of a rule's time, however large its state.
const REST: u32 = 20;
/// How long to wait before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What an operator sees of a rule's windows: `read = matched + unmatched + failed` messages, and
/// `closed = rows + held_back + spoiled` groups.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WindowStatus {
    #[serde(flatten)]
    pub tally: WindowTally,
    /// Groups in open windows now.
    pub open: usize,
    pub devices: usize,
    /// Of their state, about.
    pub bytes: usize,
    /// A limit is reached: messages for new groups are refused, and counted.
    pub full: bool,
    /// Why it waits, if it does.
    pub reason: Option<String>,
    /// Age of the last record that was taken, in milliseconds, while there are more.
    pub lag_ms: u64,
    /// One past the last record that was taken.
    pub position: u64,
}

/// A rule's windows as others see them.
pub(crate) struct LiveWindows {
    /// Guards what others see for one look or one change.
    seen: Mutex<Seen>,
    stop: CancellationToken,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    tally: WindowTally,
    standing: WindowStanding,
    position: Offset,
    accepted_at: Option<i64>,
    stored: Offset,
    due: Option<Timestamp>,
    reason: Option<String>,
    /// What was saved last, once they have ended.
    last: Option<SavedWindows>,
}

impl std::fmt::Debug for LiveWindows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveWindows").finish_non_exhaustive()
    }
}

impl LiveWindows {
    pub(crate) fn new(saved: &SavedWindows) -> Self {
        let seen = Seen { position: saved.position, stored: saved.position, ..Seen::default() };
        Self { seen: Mutex::new(seen), stop: CancellationToken::new(), ended: Notify::new() }
    }

    /// What the log must keep for them.
    pub(crate) fn stored(&self) -> Offset {
        self.seen.lock().stored
    }

    /// How far they have come, and when a tick would close something.
    pub(crate) fn waits(&self) -> (Offset, Option<Timestamp>) {
        let seen = self.seen.lock();
        (seen.position, seen.due)
    }

    /// Groups in open windows.
    pub(crate) fn open(&self) -> usize {
        self.seen.lock().standing.open
    }

    pub(crate) fn status(&self, shared: &Shared) -> WindowStatus {
        let seen = self.seen.lock();
        let lags = seen.position < shared.log.durable().get();
        let age = seen.accepted_at.map_or(0, |at| u64::try_from(shared.clock.now().0 - at).unwrap_or(0));
        let limits = shared.options.windows;
        let WindowStanding { open, devices, bytes } = seen.standing;
        WindowStatus {
            tally: seen.tally,
            open,
            devices,
            bytes,
            full: open.max(devices) >= limits.groups || bytes >= limits.bytes,
            reason: seen.reason.clone(),
            lag_ms: if lags { age } else { 0 },
            position: seen.position.0,
        }
    }

    /// Ends them. Returns them as they are.
    pub(crate) async fn stop(&self) -> Option<SavedWindows> {
        self.stop.cancel();
        self.ended.notified().await;
        self.seen.lock().last.take()
    }
}

/// What is lost when a rule changes, as its author should know.
pub(super) fn warning(
    before: Option<&WindowShape>,
    new: &dyn Evaluator,
    name: &RuleName,
    old: Option<&LiveRule>,
) -> Option<String> {
    let open = old?.windows.as_ref()?.open();
    let change = match new.window_shape(name) {
        Some(shape) => before?.change(&shape)?,
        None => "it has none any more".to_owned(),
    };
    Some(format!("the windows of {name} begin anew, and what is open in them ({open} groups) is lost: {change}"))
}

/// Reads the log for the windows of one rule.
pub(super) struct WindowWorker {
    pub(super) rule: RuleName,
    pub(super) live: Arc<LiveWindows>,
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) windows: Box<dyn Windows>,
    /// Where they begin. The state is in `windows` already.
    pub(super) saved: SavedWindows,
}

/// Where a worker stands.
struct At {
    reader: Reader,
    position: Offset,
    /// Rows up to it are in the log.
    known: Option<WindowMark>,
    /// The last row that was appended.
    appended: Option<Offset>,
    /// Something changed that is not stored.
    changed: bool,
    stored_at: Instant,
    /// Storing rests until then.
    rests_until: Instant,
}

impl WindowWorker {
    pub(super) async fn run(mut self, drain: Drain) {
        if let Some(last) = self.work(&drain).await {
            self.live.seen.lock().last = Some(last);
        }
        self.live.ended.notify_one();
    }

    /// Until it is told to end. Returns what was saved at the end.
    async fn work(&mut self, drain: &Drain) -> Option<SavedWindows> {
        let known = self.find_known().await;
        let mut at = At {
            reader: self.shared.log.reader(self.saved.position),
            position: self.saved.position,
            known,
            appended: None,
            changed: false,
            stored_at: Instant::now(),
            rests_until: Instant::now(),
        };
        let (stop, live) = (self.live.stop.clone(), Arc::clone(&self.live));
        live.seen.lock().due = self.windows.due();
        let mut checkpoint = tokio::time::interval(self.shared.options.window_checkpoint);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = drain.token().cancelled() => break,
                _ = checkpoint.tick() => self.checkpoint(&mut at).await,
                frame = at.reader.next_durable() => match frame {
                    Ok(frame) => {
                        // Ending in between loses nothing: the frame is taken again from what is stored.
                        tokio::select! {
                            biased;
                            () = self.take(&mut at, &frame) => {}
                            () = drain.token().cancelled() => return None,
                            () = stop.cancelled() => return None,
                        }
                    }
                    Err(ReadError::Overtaken { oldest, .. }) => self.skip_to(&mut at, oldest),
                    Err(ReadError::Stopped) => break,
                    Err(error) => {
                        tracing::error!(rule = %self.rule, %error, "windows cannot read the log");
                        self.live.seen.lock().reason = Some(error.to_string());
                        tokio::time::sleep(AGAIN).await;
                        at.reader = self.shared.log.reader(at.position);
                    }
                },
            }
        }
        // Whoever goes on from here gets the state itself.
        at.changed = true;
        self.save(&mut at).await
    }

    /// The greatest mark of this rule's rows that were appended after the state was saved.
    async fn find_known(&self) -> Option<WindowMark> {
        let end = self.shared.log.durable().get();
        let mut reader = self.shared.log.reader(self.saved.durable);
        let topics = [rows_topic(&self.rule), late_topic(&self.rule)];
        let mut known = None;
        while reader.position() < end {
            match reader.next_durable().await {
                Ok(frame) => known = known.max(greatest_mark(&frame.records, &topics, &self.rule)),
                Err(ReadError::Overtaken { .. }) => {}
                Err(_) => break,
            }
        }
        known
    }

    async fn take(&mut self, at: &mut At, frame: &Arc<Frame>) {
        let mut rows = self.windows.push(&frame.records);
        if let Some(known) = at.known {
            rows.retain(|row| row.mark > known);
            if frame.next > known.offset {
                at.known = None;
            }
        }
        let rows: Vec<WindowRow> = rows.into_iter().filter(|row| self.fits(row)).collect();
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(how_many(rest));
            rest = later;
            at.appended = Some(self.append(now).await);
        }
        at.position = frame.next;
        let (tally, standing, due) = (self.windows.tally(), self.windows.standing(), self.windows.due());
        let mut seen = self.live.seen.lock();
        at.changed |= seen.tally != tally || seen.standing != standing || seen.due != due;
        (seen.tally, seen.standing, seen.due) = (tally, standing, due);
        seen.position = frame.next;
        let last = frame.records.len().checked_sub(1);
        seen.accepted_at = last.map(|last| frame.records.accepted_at.value(last)).or(seen.accepted_at);
    }

    fn fits(&self, row: &WindowRow) -> bool {
        let fits = row.payload.len() <= self.shared.largest;
        if !fits {
            tracing::error!(
                rule = %self.rule, bytes = row.payload.len(), limit = self.shared.largest,
                "a row of a window is larger than a message may be; it is left out"
            );
            self.shared.metrics.refused_for("window_row", "too_large");
        }
        fits
    }

    /// Appends rows, however long it takes. Returns the offset of the last.
    async fn append(&self, rows: &[WindowRow]) -> Offset {
        let publisher = format!("rule:{}", self.rule);
        let topics = [rows_topic(&self.rule), late_topic(&self.rule)];
        let marks: Vec<[u8; 12]> = rows.iter().map(|row| row.mark.to_bytes()).collect();
        let records = rows.iter().zip(&marks).map(|(row, mark)| {
            let [of_rows, of_late] = &topics;
            let topic = if row.stream == WindowStream::Rows { of_rows } else { of_late };
            let envelope = Envelope::new(topic, &publisher, Protocol::Hub, Qos::AtLeastOnce, &row.payload);
            Record::Message(Envelope {
                hop: row.hop,
                origin: Some(self.rule.as_str()),
                correlation: Some(mark),
                ..envelope
            })
        });
        let records: Vec<Record<'_>> = records.collect();
        loop {
            match self.shared.log.append_reserved(&records).await {
                Ok(first) => {
                    let mut seen = self.live.seen.lock();
                    seen.reason = None;
                    drop(seen);
                    for row in rows {
                        self.shared.metrics.accepted(Protocol::Hub, Qos::AtLeastOnce, row.payload.len());
                    }
                    return first.plus(records.len().saturating_sub(1) as u64);
                }
                Err(AppendError::Failed) => std::future::pending().await,
                Err(error) => {
                    tracing::warn!(rule = %self.rule, %error, "rows of windows wait for the log");
                    self.live.seen.lock().reason = Some(error.to_string());
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn skip_to(&self, at: &mut At, oldest: Offset) {
        tracing::error!(
            rule = %self.rule, position = %at.position, %oldest,
            "the log dropped messages before the windows of a rule had read them (log.max_bytes)"
        );
        self.shared.metrics.refused_for("window_messages", "overtaken");
        at.position = oldest;
        at.changed = true;
    }

    async fn checkpoint(&mut self, at: &mut At) {
        let is_due = if at.changed {
            Instant::now() >= at.rests_until
        } else {
            at.position > self.saved.position && at.stored_at.elapsed() >= NOTE
        };
        if is_due {
            self.save(at).await;
        }
    }

    /// Stores where it stands. `None`: it could not.
    async fn save(&mut self, at: &mut At) -> Option<SavedWindows> {
        let begun = Instant::now();
        let state = match at.changed.then(|| self.windows.save()).transpose() {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(rule = %self.rule, error, "the state of windows cannot be stored");
                self.live.seen.lock().reason = Some(format!("its state cannot be stored: {error}"));
                return None;
            }
        };
        let durable = self.shared.log.durable().get();
        // Otherwise a crash now would lose rows: their windows would not close again.
        if let Some(appended) = at.appended
            && self.shared.log.durable().wait_for(appended).await.is_err()
        {
            return None;
        }
        let saved = SavedWindows { rule: self.rule.clone(), position: at.position, durable, state };
        if let Err(error) = self.store.put_windows(saved.clone()).await {
            tracing::error!(rule = %self.rule, %error, "the state of windows cannot be stored; it is tried again");
            return None;
        }
        at.changed = false;
        at.stored_at = Instant::now();
        at.rests_until = at.stored_at + begun.elapsed() * REST;
        self.live.seen.lock().stored = at.position;
        self.saved.position = at.position;
        Some(saved)
    }
}

/// The greatest mark of a rule's rows in a frame.
fn greatest_mark(records: &Records, topics: &[String], rule: &RuleName) -> Option<WindowMark> {
    let is_row = |row: &usize| {
        let topic = records.topic.value(*row);
        records.is_message(*row)
            && topics.iter().any(|own| own == topic)
            && weir_core::schema::optional_text(&records.origin, *row) == Some(rule.as_str())
    };
    let rows = (0..records.len()).filter(is_row);
    rows.filter_map(|row| WindowMark::from_bytes(records.envelope(row).correlation?)).max()
}

/// At least one.
fn how_many(rows: &[WindowRow]) -> usize {
    let mut bytes = 0;
    let fits = |row: &&WindowRow| {
        bytes += row.payload.len();
        bytes <= BYTES_AT_ONCE
    };
    rows.iter().take(AT_ONCE).take_while(fits).count().max(1)
}

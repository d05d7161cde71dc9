//! The past as one stream of batches: the lake first, then the log from where the lake ends.
//!
//! The seam is an offset: what lies below the lake's end is read from the lake, what lies above from the log. If the log
//! lets go of a segment while it is read, the segment is in the lake by then, and reading goes on there. So no message is
//! left out and none comes twice.

mod columns;
mod file;
mod merge;
mod object;
mod wanted;

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array, BooleanArray, RecordBatch, UInt64Array},
    compute::filter_record_batch,
};
use tokio::{runtime::Handle, sync::mpsc};
use weir_core::{
    Offset, Timestamp,
    history::{ScanProgress, TimeRange},
    schema::{RECORD_SCHEMA, Records},
    seams::{History, HistoryError},
};

pub(crate) use self::{columns::Columns, wanted::Wanted};
use crate::archive::{Archive, LakeError, Snapshot};

/// Batches that may wait between reading and whoever takes them.
const WAITING_BATCHES: usize = 4;

type Batches = mpsc::Sender<Result<RecordBatch, HistoryError>>;

/// The log, and the lake if there is one.
#[derive(Clone)]
pub(crate) struct Past {
    pub(crate) log: Arc<dyn History>,
    pub(crate) archive: Option<Archive>,
}

/// What is read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// Messages before it are left out.
    pub(crate) from: Offset,
    pub(crate) time: TimeRange,
    /// Batches hold what meets it, and may hold more.
    pub(crate) wanted: Wanted,
    pub(crate) columns: Columns,
    pub(crate) progress: Arc<ScanProgress>,
}

impl Past {
    /// Batches of [`RECORD_SCHEMA`] in the order of offsets, without messages of other times. Columns that are not asked
    /// for hold nothing of use. Reading ends soon after the receiver is dropped.
    pub(crate) fn read(&self, reading: Reading) -> mpsc::Receiver<Result<RecordBatch, HistoryError>> {
        let (batches, receiver) = mpsc::channel(WAITING_BATCHES);
        let (past, handle) = (self.clone(), Handle::current());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = past.run(&handle, &reading, &batches) {
                // Nobody may be there to hear it.
                let _heard = batches.blocking_send(Err(error));
            }
        });
        receiver
    }

    /// Whether it can be read now.
    pub(crate) fn check(&self) -> Result<(), LakeError> {
        self.archive.as_ref().map_or(Ok(()), |archive| archive.snapshot().map(drop))
    }

    fn run(&self, handle: &Handle, reading: &Reading, batches: &Batches) -> Result<(), HistoryError> {
        // What is durable now: reading does not chase messages that arrive meanwhile.
        let end = self.log.end();
        let mut position = reading.from;
        let mut expected_of_log = false;
        loop {
            if let Some(snapshot) = self.snapshot(position)? {
                let to = snapshot.to.min(end);
                let lake = file::Lake { place: self.place()?, snapshot: &snapshot, reading, range: position..to };
                if !handle.block_on(lake.read(batches))? {
                    return Ok(());
                }
                position = to;
            }
            if !expected_of_log {
                expected_of_log = true;
                reading.progress.expect(distance(position, end));
            }
            let records = self.log.scan(position, end);
            if self.log.oldest() > position {
                if self.snapshot(position)?.is_some() {
                    continue;
                }
                // Nobody has what was there.
                let oldest = self.log.oldest();
                reading.progress.skip(distance(position, oldest.min(end)));
                position = oldest;
                continue;
            }
            match self.read_log(records, &mut position, reading, batches) {
                // It was overtaken by retention: what it lacks is in the lake.
                Err(_) if self.snapshot(position).is_ok_and(|snapshot| snapshot.is_some()) => {}
                outcome => return outcome,
            }
        }
    }

    fn read_log(
        &self,
        records: impl Iterator<Item = Result<RecordBatch, HistoryError>>,
        position: &mut Offset,
        reading: &Reading,
        batches: &Batches,
    ) -> Result<(), HistoryError> {
        for batch in records {
            // Nobody receives any more when the query is over, or was given up. Batches without a match send nothing,
            // and must not be read for ever.
            if batches.is_closed() {
                return Ok(());
            }
            let batch = batch?;
            reading.progress.read(batch.num_rows() as u64);
            let next = offsets(&batch)?.values().last().map_or(*position, |last| Offset(last + 1));
            let batch = within(batch, reading.time)?;
            if batch.num_rows() > 0 && batches.blocking_send(Ok(batch)).is_err() {
                return Ok(());
            }
            *position = next;
        }
        Ok(())
    }

    /// The lake, if it has something at or after `position`.
    fn snapshot(&self, position: Offset) -> Result<Option<Arc<Snapshot>>, HistoryError> {
        let Some(archive) = &self.archive else { return Ok(None) };
        let snapshot = archive.snapshot().map_err(|error| HistoryError(error.to_string()))?;
        Ok((snapshot.to > position).then_some(snapshot))
    }

    fn place(&self) -> Result<&crate::archive::Place, HistoryError> {
        let archive = self.archive.as_ref().ok_or_else(|| HistoryError("there is no lake".to_owned()))?;
        Ok(archive.place())
    }
}

/// About how many records there are from one offset to another: they are dense within an epoch alone.
fn distance(from: Offset, to: Offset) -> u64 {
    if from.epoch() == to.epoch() { to.0.saturating_sub(from.0) } else { to.index() }
}

fn offsets(batch: &RecordBatch) -> Result<UInt64Array, HistoryError> {
    let column = batch.column_by_name("offset").and_then(|column| column.as_any().downcast_ref::<UInt64Array>());
    column.cloned().ok_or_else(|| HistoryError("a batch has no offsets".to_owned()))
}

/// The rows of a batch in a range of offsets.
fn between(batch: &RecordBatch, range: &Range<Offset>) -> Result<RecordBatch, HistoryError> {
    let offsets = offsets(batch)?;
    let from = offsets.values().partition_point(|offset| *offset < range.start.0);
    let to = offsets.values().partition_point(|offset| *offset < range.end.0);
    Ok(batch.slice(from, to.saturating_sub(from)))
}

/// The rows of a batch with times in a range.
fn within(batch: RecordBatch, time: TimeRange) -> Result<RecordBatch, HistoryError> {
    if time == TimeRange::ALL {
        return Ok(batch);
    }
    let records = Records::try_from(&batch).map_err(|error| HistoryError(error.to_string()))?;
    let is_within = |time_of_row: &i64| time.contains(Timestamp(*time_of_row));
    let times = records.accepted_at.values();
    if times.iter().all(is_within) {
        return Ok(batch);
    }
    let kept: BooleanArray = times.iter().map(|time| Some(is_within(time))).collect();
    filter_record_batch(&batch, &kept).map_err(|error| HistoryError(error.to_string()))
}

/// A batch as [`RECORD_SCHEMA`] has it, of some of its columns.
fn completed(batch: &RecordBatch, columns: Columns) -> Result<RecordBatch, HistoryError> {
    if batch.schema_ref().fields() == RECORD_SCHEMA.fields() {
        return Ok(batch.clone());
    }
    columns.complete(batch).map_err(|error| HistoryError(error.to_string()))
}

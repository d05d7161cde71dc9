//! Compaction: a part of the log, sorted into Parquet files. Everything here blocks.
//!
//! Memory is bounded by how many files are written at one time, and by the bytes that all of them hold before they go to
//! disk; a part of the log that is larger than one commit should be is cut off, and the next commit goes on there.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::{
    array::{Array, RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
};
use weir_core::{
    Offset,
    schema::{Kind, RECORD_SCHEMA, Records},
    seams::History,
};
use weir_log::Log;

use super::{DataFile, LakeError, LakeOptions, write::FileWriter};

/// Bytes of payloads in one commit, about.
const COMMIT_BYTES: u64 = 256 << 20;
/// Products of one commit and day that have files of their own. What others sent goes into one file together, so that a
/// hub of very many products does not make a file for each few messages.
const OWN_FILES: usize = 64;
/// Rows, and bytes of payloads, that are sorted at once.
const SORTED_ROWS: usize = 8_192;
const SORTED_BYTES: usize = 4 << 20;
/// Messages of no product, and messages of the products that have no files of their own.
const NO_PRODUCT: &str = "none";
const MANY_PRODUCTS: &str = "others";

const DAY: i64 = 24 * 60 * 60 * 1_000;

/// What is to be compacted.
pub(super) struct Job {
    pub(super) log: Log,
    pub(super) from: Offset,
    pub(super) to: Offset,
    /// The number of the commit that it will be.
    pub(super) commit: u64,
    pub(super) options: LakeOptions,
    /// Compaction is given up when it becomes true.
    pub(super) stop: Arc<AtomicBool>,
}

/// Files, each with where it is on disk, and how far in the log they go.
pub(super) struct Made {
    pub(super) files: Vec<(DataFile, PathBuf)>,
    pub(super) to: Offset,
}

/// The file that a message goes into: by the days since 1970, and by product or one of the names above.
type Part = (i64, String);

impl Job {
    /// `None` if it was given up.
    pub(super) fn run(self) -> Result<Option<Made>, LakeError> {
        let scratch = &self.options.scratch;
        if scratch.exists() {
            fs::remove_dir_all(scratch)?;
        }
        fs::create_dir_all(scratch)?;
        let mut parts = Parts { job: &self, writers: HashMap::new() };
        let (mut gathered, mut rows, mut bytes) = (Vec::new(), 0, 0);
        let (mut written, mut to) = (0, self.to);
        let records = self.log.scan(self.from, self.to);
        if self.log.oldest() > self.from {
            return Err(LakeError::Log("it was full and dropped what was to be compacted".to_owned()));
        }
        for batch in records {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let batch = batch.map_err(|error| LakeError::Log(error.to_string()))?;
            rows += batch.num_rows();
            bytes += payload_bytes(&batch);
            gathered.push(batch);
            if rows >= SORTED_ROWS || bytes >= SORTED_BYTES {
                let end = parts.write(&gathered)?;
                written += bytes as u64;
                gathered.clear();
                (rows, bytes) = (0, 0);
                if written >= COMMIT_BYTES {
                    to = end;
                    break;
                }
            }
        }
        parts.write(&gathered)?;
        Ok(Some(Made { files: parts.finish()?, to }))
    }
}

struct Parts<'a> {
    job: &'a Job,
    writers: HashMap<Part, FileWriter>,
}

impl Parts<'_> {
    /// Writes the messages and ticks of some batches. Returns one past the last record.
    fn write(&mut self, batches: &[RecordBatch]) -> Result<Offset, LakeError> {
        if batches.is_empty() {
            return Ok(self.job.to);
        }
        let batch = concat_batches(&RECORD_SCHEMA, batches)?;
        let records = Records::try_from(&batch).map_err(|error| LakeError::Log(error.to_string()))?;
        let mut rows: HashMap<Part, Vec<u32>> = HashMap::new();
        for row in 0..records.len() {
            if records.is_message(row) || records.kind.value(row) == Kind::Tick as u8 {
                rows.entry(self.part(&records, row)).or_default().push(row as u32);
            }
        }
        for (part, rows) in rows {
            let taken = take_record_batch(&batch, &UInt32Array::from(rows))?;
            let writer = match self.writers.get_mut(&part) {
                Some(writer) => writer,
                None => {
                    let path = self.job.options.scratch.join(format!("{}.parquet", self.writers.len()));
                    let writer = FileWriter::create(path, self.job.options.compression)?;
                    self.writers.entry(part).or_insert(writer)
                }
            };
            writer.write(&taken)?;
        }
        self.bound_memory()?;
        Ok(records.offset.values().last().map_or(self.job.to, |last| Offset(last + 1)))
    }

    fn part(&self, records: &Records, row: usize) -> Part {
        let day = records.accepted_at.value(row).div_euclid(DAY);
        if records.product.is_null(row) {
            return (day, NO_PRODUCT.to_owned());
        }
        let own = (day, records.product.value(row).to_owned());
        // Parts of the batch at hand are not counted yet, so there may be some more.
        let has_room = self.writers.len() < OWN_FILES || self.writers.contains_key(&own);
        if has_room { own } else { (day, MANY_PRODUCTS.to_owned()) }
    }

    /// Lets the writers that hold most finish their row groups, until all together hold no more than they may.
    fn bound_memory(&mut self) -> Result<(), LakeError> {
        let mut held: usize = self.writers.values().map(FileWriter::held).sum();
        while held > self.job.options.memory {
            let Some(largest) = self.writers.values_mut().max_by_key(|writer| writer.held()) else { break };
            let before = largest.held();
            largest.flush()?;
            held -= before;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<(DataFile, PathBuf)>, LakeError> {
        let commit = self.job.commit;
        let mut files = Vec::with_capacity(self.writers.len());
        for ((day, name), writer) in self.writers {
            let product = (name != NO_PRODUCT && name != MANY_PRODUCTS).then(|| name.clone());
            files.push(writer.finish(commit, &format!("day={}/{name}", date(day)), product)?);
        }
        files.sort_by(|(one, _), (other, _)| (one.first, &one.path).cmp(&(other.first, &other.path)));
        Ok(files)
    }
}

fn payload_bytes(batch: &RecordBatch) -> usize {
    batch.column_by_name("payload").map_or(0, |payload| payload.get_array_memory_size())
}

/// A day since 1970 as `2026-01-31` (Howard Hinnant's days_from_civil, turned round).
fn date(day: i64) -> String {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        let check = |day, expected: &str| assert_eq!(date(day), expected);
        check(0, "1970-01-01");
        check(59, "1970-03-01");
        check(19_782, "2024-02-29");
        check(20_783, "2026-11-26");
        check(-1, "1969-12-31");
    }
}

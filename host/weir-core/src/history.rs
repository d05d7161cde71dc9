//! What is asked of the past, and what is answered: queries, backtests, and how much was read for them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use serde::{Serialize, Serializer};

use crate::{
    Offset, Timestamp,
    schema::Records,
    seams::{BoxFuture, QueryError, RuleEvaluation},
    statement::RuleDefinition,
};

/// Accept times, from the first up to and without the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl TimeRange {
    pub const ALL: Self = Self { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX) };

    pub fn contains(self, time: Timestamp) -> bool {
        self.from <= time && time < self.to
    }

    /// Whether any of the times from `first` to `last` lies in it.
    pub fn meets(self, first: Timestamp, last: Timestamp) -> bool {
        self.from <= last && first < self.to
    }
}

impl Default for TimeRange {
    fn default() -> Self {
        Self::ALL
    }
}

/// A query that is to be run.
#[derive(Debug, Clone, Copy)]
pub struct QueryRequest<'a> {
    pub sql: &'a str,
    /// Messages of other times are as if they did not exist.
    pub time: TimeRange,
    /// Where the reader of the answer sees how far the query is.
    pub progress: &'a std::sync::Arc<ScanProgress>,
}

/// A running query. Dropping it ends it.
pub trait QueryRun: Send {
    /// That of every batch.
    fn schema(&self) -> SchemaRef;

    /// The next rows; `None` at the end. Nothing follows an error. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<RecordBatch, QueryError>>>;
}

/// How much of the past was looked at, counted while it is read.
#[derive(Debug, Default)]
pub struct ScanProgress {
    files: AtomicU64,
    files_read: AtomicU64,
    row_groups: AtomicU64,
    row_groups_read: AtomicU64,
    rows: AtomicU64,
    rows_passed: AtomicU64,
    rows_read: AtomicU64,
}

/// What [`ScanProgress`] has counted: of files and row groups how many were read of how many there are, and of messages
/// how many were read, and how many are behind the reader of those that it has to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ScanCounts {
    /// Files of the lake.
    pub files: u64,
    pub files_read: u64,
    pub row_groups: u64,
    pub row_groups_read: u64,
    /// Messages, about, in what is to be read.
    pub rows: u64,
    pub rows_passed: u64,
    /// Those that were decoded.
    pub rows_read: u64,
}

impl ScanProgress {
    /// There is a file with so many row groups.
    pub fn add_file(&self, row_groups: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.row_groups.fetch_add(row_groups, Ordering::Relaxed);
    }

    /// There are so many messages to pass.
    pub fn expect(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub fn read_file(&self) {
        self.files_read.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read_row_groups(&self, row_groups: u64) {
        self.row_groups_read.fetch_add(row_groups, Ordering::Relaxed);
    }

    /// Messages that need not be read.
    pub fn skip(&self, rows: u64) {
        self.rows_passed.fetch_add(rows, Ordering::Relaxed);
    }

    pub fn read(&self, rows: u64) {
        self.rows_read.fetch_add(rows, Ordering::Relaxed);
        self.rows_passed.fetch_add(rows, Ordering::Relaxed);
    }

    pub fn counts(&self) -> ScanCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ScanCounts {
            files: get(&self.files),
            files_read: get(&self.files_read),
            row_groups: get(&self.row_groups),
            row_groups_read: get(&self.row_groups_read),
            rows: get(&self.rows),
            rows_passed: get(&self.rows_passed),
            rows_read: get(&self.rows_read),
        }
    }
}

/// A rule that is to be run over the past.
#[derive(Debug, Clone)]
pub struct Backtest {
    pub rule: RuleDefinition,
    /// Another rule over the same messages, whose rows are set against those of the first: its version in force.
    pub compare: Option<RuleDefinition>,
    pub time: TimeRange,
    /// Rows of each action that are shown, and differences.
    pub samples: usize,
    pub progress: std::sync::Arc<ScanProgress>,
}

/// A rule whose rows over the past are wanted, to be sent.
#[derive(Debug, Clone)]
pub struct Replay {
    pub rule: RuleDefinition,
    pub time: TimeRange,
    /// Messages before it are left out.
    pub from: Offset,
    pub progress: std::sync::Arc<ScanProgress>,
}

/// A rule that is evaluated over the past. Dropping it ends it.
pub trait ReplayRun: Send {
    /// The next messages, with what the rule made of them. Nothing follows an error. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Replayed, QueryError>>>;
}

/// Messages, in the order of their offsets, and what a rule made of them.
#[derive(Debug, Clone)]
pub struct Replayed {
    pub records: Records,
    /// `None`: none of them was for it.
    pub evaluation: Option<RuleEvaluation>,
}

/// What a backtest found: `read = matched + unmatched + failed`, as for a live rule.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BacktestReport {
    pub read: u64,
    pub matched: u64,
    pub unmatched: u64,
    pub failed: u64,
    /// Values of another type than the rule demands, by path.
    pub mismatches: BTreeMap<String, u64>,
    pub actions: Vec<ActionReport>,
    /// Rows of the first action by the hour in which their messages were accepted; hours without any are left out.
    pub hours: Vec<Hour>,
    /// Live tables that the rule reads, as they are now: with any, its rows need not be those that it made then.
    pub not_reproducible: Vec<String>,
    /// Messages that were evaluated, of whatever topic, and processor time spent evaluating the rule, in microseconds.
    pub evaluated: u64,
    pub evaluate_us: u64,
    pub elapsed_ms: u64,
    pub scan: ScanCounts,
    pub comparison: Option<Comparison>,
}

/// What one action's target would have got.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ActionReport {
    /// Its place in the rule; the error target is 1000.
    pub action: u32,
    pub target: String,
    pub rows: u64,
    /// Of their payloads.
    pub bytes: u64,
    /// Rows of which a setting has no usable value: they would have gone to the error target or the dead letters.
    pub invalid: u64,
    /// The first rows.
    pub samples: Vec<Sample>,
}

/// A row for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    pub offset: Offset,
    pub row: u32,
    pub time: Timestamp,
    pub topic: String,
    #[serde(serialize_with = "text")]
    pub payload: Vec<u8>,
    /// Values of the settings with `${…}`; `None`: it has none that is usable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<(String, Option<String>)>,
    /// Why the message failed, in rows for the error target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// An hour of accept times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hour {
    /// Its beginning.
    pub from: Timestamp,
    pub rows: u64,
}

/// The rows of two versions of a rule, by action, message and place.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    pub same: u64,
    /// Both have the row, with another payload or other settings.
    pub changed: u64,
    /// Rows of the tested version alone.
    pub added: u64,
    /// Rows of the other version alone.
    pub removed: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    pub action: u32,
    /// The row of the other version.
    pub before: Option<Sample>,
    /// That of the tested one.
    pub after: Option<Sample>,
}

/// The lake, as an operator sees it.
#[derive(Debug, Clone, Serialize)]
pub struct LakeStatus {
    pub location: String,
    pub state: LakeState,
    /// Why it fails, if it does.
    pub error: Option<String>,
    pub files: u64,
    pub bytes: u64,
    /// Messages in it.
    pub rows: u64,
    /// Accept time of the oldest.
    pub oldest_time: Option<Timestamp>,
    /// Records of the log below this are in the lake, as far as it keeps them.
    pub compacted_to: Offset,
    /// Bytes of log segments that wait to be compacted, about.
    pub pending_bytes: u64,
    /// Records that the log dropped before they were compacted, because it was full.
    pub skipped: u64,
    /// Messages written to it since the start.
    pub compacted_rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LakeState {
    /// It is not known yet what it holds.
    Opening,
    Idle,
    Compacting,
    /// The last attempt to write to it failed; it is tried again.
    Failing,
}

/// Whoever knows how the lake is.
pub trait LakeView: Send + Sync {
    fn status(&self) -> LakeStatus;
}

/// Bytes that are mostly text.
fn text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

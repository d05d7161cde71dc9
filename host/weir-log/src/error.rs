//! What can go wrong with a log, by operation.

use std::io;

use weir_core::{Classify, ErrorKind, Offset};

/// The log could not be opened. What it holds is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("log folder {folder} is in use by another process")]
    Locked { folder: String },
    #[error("segment {segment} is damaged at byte {position}: {reason}")]
    Corrupt { segment: String, position: u64, reason: &'static str },
    #[error(
        "segment {segment} has format {version}, this program reads formats up to {supported}: use a newer program"
    )]
    NewerFormat { segment: String, version: u32, supported: u32 },
    #[error("the log was opened {0} times, more often than offsets can tell apart")]
    EpochsExhausted(u32),
    #[error("log storage {storage}: {what}")]
    Io {
        storage: String,
        what: String,
        #[source]
        source: io::Error,
    },
}

/// Records were not taken: none of those in the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The pending group is full: wait for [`crate::Log::ready`] and try again.
    #[error("log is busy")]
    Busy,
    #[error("records of {size} bytes exceed the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    /// `max_bytes` is reached, and everything held is still needed.
    #[error("log is full")]
    Full,
    /// A write or sync failed, or the log was closed: nothing is accepted any more.
    #[error("log has stopped")]
    Failed,
}

impl Classify for AppendError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy | Self::Full => ErrorKind::Throttled,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Failed => ErrorKind::Unavailable,
        }
    }
}

/// What was waited for will never happen: a write or sync failed, or the log was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("log has stopped")]
pub struct LogFailed;

impl Classify for LogFailed {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Retention dropped records that this reader had not read: those from `position` up to `oldest`. The reader
    /// stands at `oldest` now and can go on.
    #[error("records from {position} up to {oldest} were dropped before they were read")]
    Overtaken { position: Offset, oldest: Offset },
    #[error("segment {segment} is damaged at byte {position}: {reason}")]
    Corrupt { segment: String, position: u64, reason: &'static str },
    #[error("reading segment {segment} failed: {reason}")]
    Io { segment: String, reason: String },
    /// All there was has been read, and nothing will follow: a write or sync failed, or the log was closed.
    #[error("log has stopped")]
    Stopped,
}

impl Classify for ReadError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Overtaken { .. } => ErrorKind::NotFound,
            Self::Corrupt { .. } => ErrorKind::Internal,
            Self::Io { .. } | Self::Stopped => ErrorKind::Unavailable,
        }
    }
}

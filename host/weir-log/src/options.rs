//! How a log is run.

use std::time::Duration;

/// Bytes of records that one append, or the pending group, may hold at the most. Keeps the 32-bit offsets of Arrow's
/// columns far from their end.
pub(crate) const MAX_APPEND_BYTES: usize = 64 << 20;

/// When written records are synced to the disk. Whoever waits for [`crate::Durable`] waits for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Records that somebody waits for (QoS ≥ 1, control) at once, others within 10 ms.
    #[default]
    Always,
    /// At most one sync per interval; acknowledgements wait for it.
    Interval(Duration),
    /// The operating system decides, and what is written counts as durable: it survives a killed process, not a power
    /// cut. Segments are still synced when they are sealed.
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment that has reached this many bytes is sealed. At most an eighth of `max_bytes` is used.
    pub segment_bytes: u64,
    /// Segments are dropped, oldest first, while the log holds more than this.
    pub retain_bytes: u64,
    /// Segments whose records are all older than this are dropped.
    pub retain_age: Duration,
    /// Beyond this, segments are dropped although actions still need them; where delivery needs them too, appends are
    /// refused. Appends by the hub itself ([`crate::Log::append_reserved`]) may use 5 % more.
    pub max_bytes: u64,
    pub sync: SyncPolicy,
    /// Records the pending group takes before appends are told to wait.
    pub group_rows: usize,
    /// Bytes the pending group takes before appends are told to wait.
    pub group_bytes: usize,
    /// Bytes of the newest frames that are kept in memory, decoded, for the readers at the head.
    pub tail_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            retain_bytes: 8 << 30,
            retain_age: Duration::from_secs(7 * 24 * 60 * 60),
            max_bytes: 16 << 30,
            sync: SyncPolicy::Always,
            group_rows: 4_096,
            group_bytes: 1 << 20,
            tail_bytes: 32 << 20,
        }
    }
}

impl LogOptions {
    /// The options with bounds that contradict each other made consistent.
    pub(crate) fn consistent(mut self) -> Self {
        // The segment being written is never dropped, so it must not be most of what the log may hold.
        self.segment_bytes = self.segment_bytes.min(self.max_bytes / 8);
        self.group_rows = self.group_rows.max(1);
        self.group_bytes = self.group_bytes.clamp(1, MAX_APPEND_BYTES);
        self
    }

    /// A segment spans no more than this, so that records are dropped not much later than `retain_age` says.
    pub(crate) fn segment_age(&self) -> Duration {
        self.retain_age / 8
    }

    /// Bytes at which an append is refused.
    pub(crate) fn bound(&self, reserved: bool) -> u64 {
        if reserved { self.max_bytes.saturating_add(self.max_bytes / 20) } else { self.max_bytes }
    }
}

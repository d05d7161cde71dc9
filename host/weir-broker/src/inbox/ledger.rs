//! What became of the messages of one session.

use serde::{Deserialize, Serialize};

/// Why a message was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The inbox held as much as it may.
    InboxFull,
    /// It waited longer than messages may.
    TooOld,
    /// At QoS 0, and the client left before it was sent.
    Offline,
    /// No packet can carry it to this client.
    TooLarge,
    /// The log does not hold it any more.
    LogRetention,
    /// The session ended before.
    SessionEnded,
    /// Another member of the shared subscription gets it.
    Redistributed,
}

impl Dropped {
    /// The label of the counter.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InboxFull => "inbox_full",
            Self::TooOld => "too_old",
            Self::Offline => "offline",
            Self::TooLarge => "too_large",
            Self::LogRetention => "log_retention",
            Self::SessionEnded => "session_ended",
            Self::Redistributed => "redistributed",
        }
    }
}

/// Counts of one session: `enqueued = acknowledged + expired + dropped + pending`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) enqueued: u64,
    /// Those at QoS 0 count when they are handed to the connection.
    pub(crate) acknowledged: u64,
    pub(crate) expired: u64,
    pub(crate) dropped: DroppedCounts,
}

/// Messages that were dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DroppedCounts {
    pub inbox_full: u64,
    pub too_old: u64,
    pub offline: u64,
    pub too_large: u64,
    pub log_retention: u64,
    pub session_ended: u64,
    pub redistributed: u64,
}

impl DroppedCounts {
    pub fn total(&self) -> u64 {
        let Self { inbox_full, too_old, offline, too_large, log_retention, session_ended, redistributed } = self;
        inbox_full + too_old + offline + too_large + log_retention + session_ended + redistributed
    }
}

impl Ledger {
    pub(crate) fn drop(&mut self, reason: Dropped, count: u64) {
        let dropped = &mut self.dropped;
        let counter = match reason {
            Dropped::InboxFull => &mut dropped.inbox_full,
            Dropped::TooOld => &mut dropped.too_old,
            Dropped::Offline => &mut dropped.offline,
            Dropped::TooLarge => &mut dropped.too_large,
            Dropped::LogRetention => &mut dropped.log_retention,
            Dropped::SessionEnded => &mut dropped.session_ended,
            Dropped::Redistributed => &mut dropped.redistributed,
        };
        *counter += count;
    }
}

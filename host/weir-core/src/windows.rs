//! Windows of rules, as the hub drives them.
//!
//! A rule with windows reads messages in the order of the log, and now and then a window closes: that makes a row. What it
//! makes depends on the records alone, never on how they came in batches or when they were read, so whoever drives it may
//! store its state anywhere between two batches, and go on from there.

use serde::{Deserialize, Serialize};

use crate::{Offset, RuleName, Timestamp, schema::Records};

/// How much a rule may hold in its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Groups in open windows; and devices that are remembered.
    pub groups: usize,
    /// Bytes of their state, about.
    pub bytes: usize,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self { groups: 1_000_000, bytes: 256 << 20 }
    }
}

/// What became of the messages: `read = matched + unmatched + failed`, and those that matched are in windows but for
/// `untimed + late + refused`. `future` counts those whose time was taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowTally {
    pub read: u64,
    pub matched: u64,
    pub unmatched: u64,
    pub failed: u64,
    /// They say no time.
    pub untimed: u64,
    /// Their time was further ahead of the hub's than a clock may be.
    pub future: u64,
    /// All their windows were closed.
    pub late: u64,
    /// A limit was reached, or an aggregate could not take them.
    pub refused: u64,
    /// Groups of windows that closed: `closed = rows + held_back + spoiled`.
    pub closed: u64,
    pub rows: u64,
    /// HAVING did not let them through.
    pub held_back: u64,
    /// Their row could not be computed.
    pub spoiled: u64,
}

/// What is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowStanding {
    /// Groups in open windows.
    pub open: usize,
    pub devices: usize,
    /// Of state, about.
    pub bytes: usize,
}

/// Where a row goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowStream {
    /// A window closed.
    Rows,
    /// A message came too late.
    Late,
}

/// Something to be appended to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRow {
    /// Names it for ever, within its rule; grows from row to row.
    pub mark: WindowMark,
    pub stream: WindowStream,
    /// Rules that what is in it has passed through, this one counted.
    pub hop: u8,
    pub payload: Vec<u8>,
}

/// By which record a row came, and which of its rows it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowMark {
    pub offset: Offset,
    pub row: u32,
}

impl WindowMark {
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let (offset, row) = bytes.split_at_mut(8);
        offset.copy_from_slice(&self.offset.0.to_be_bytes());
        row.copy_from_slice(&self.row.to_be_bytes());
        bytes
    }

    /// `None` if the bytes are none that [`WindowMark::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (offset, row) = bytes.split_at_checked(8)?;
        let offset = Offset(u64::from_be_bytes(offset.try_into().ok()?));
        Some(Self { offset, row: u32::from_be_bytes(row.try_into().ok()?) })
    }
}

/// The windows of one rule.
pub trait Windows: Send + Sync {
    /// Takes the next records, in the order of the log. What closes is returned in the order in which it closed.
    fn push(&mut self, records: &Records) -> Vec<WindowRow>;

    /// From when on a clock tick in the log would close something.
    fn due(&mut self) -> Option<Timestamp>;

    fn tally(&self) -> WindowTally;

    fn standing(&self) -> WindowStanding;

    /// The whole state, for [`crate::seams::Evaluator::windows`]. `Err`: it cannot be saved, and why.
    fn save(&mut self) -> Result<Vec<u8>, String>;
}

/// Windows, and why the state that was saved could not be taken over, if so.
pub struct OpenedWindows {
    pub windows: Box<dyn Windows>,
    pub lost: Option<String>,
}

impl std::fmt::Debug for OpenedWindows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedWindows").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// What the state of windows depends on, as text. Everything else of a rule may change while windows are open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowShape {
    pub window: String,
    pub event_time: String,
    pub keys: Vec<String>,
    /// With the number of columns that the state of each has.
    pub aggregates: Vec<(String, usize)>,
}

impl WindowShape {
    /// Why windows of this shape cannot go on as `new`; `None` if they can: aggregates may go and change places.
    pub fn change(&self, new: &Self) -> Option<String> {
        if self.window != new.window {
            return Some(format!("its windows were {} and are {}", self.window, new.window));
        }
        if self.event_time != new.event_time {
            return Some(format!("its event time was {} and is {}", self.event_time, new.event_time));
        }
        if self.keys != new.keys {
            let keys = |keys: &[String]| if keys.is_empty() { "nothing else".to_owned() } else { keys.join(", ") };
            return Some(format!("it grouped by {} and groups by {}", keys(&self.keys), keys(&new.keys)));
        }
        let (added, _) = new.aggregates.iter().find(|aggregate| !self.aggregates.contains(aggregate))?;
        Some(format!("{added} is new"))
    }
}

/// Where the rows of a rule's windows stand in the log.
pub fn rows_topic(rule: &RuleName) -> String {
    format!("{RULE_TOPICS}{rule}")
}

/// Where the messages stand that came too late for a rule, if it asks for them.
pub fn late_topic(rule: &RuleName) -> String {
    format!("{RULE_TOPICS}{rule}/late")
}

const RULE_TOPICS: &str = "$rule/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_again() {
        let mark = WindowMark { offset: Offset::new(3, 77), row: 5 };
        assert_eq!(WindowMark::from_bytes(&mark.to_bytes()), Some(mark));
        assert_eq!(WindowMark::from_bytes(b"short"), None);
        assert_eq!(WindowMark::from_bytes(&[0; 13]), None);
    }
}

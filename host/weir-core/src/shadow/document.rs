//! A shadow's document, and how requests change it.

use std::{collections::HashMap, io};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DocumentLimits, Patch, Refusal, Update, merge, reply::Times};
use crate::Timestamp;

/// One shadow. Empty at version 0 where there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    pub(super) reported: Part,
    pub(super) desired: Part,
    version: u64,
    changed_at: Timestamp,
}

/// One half of the state: values, none of them `null`, and when each was written last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Part {
    pub(super) values: Map<String, Value>,
    pub(super) written_at: HashMap<String, Timestamp>,
}

/// What an update made.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    pub document: Document,
    /// Keys of `desired` that were there, if it was cleared as a whole; likewise of `reported`.
    pub(super) cleared_reported: Vec<String>,
    pub(super) cleared_desired: Vec<String>,
    /// Whether the device is to be told what is left to do.
    pub news_for_device: bool,
}

/// A document as text, part by part, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// `None`: the part is empty.
    pub reported: Option<String>,
    pub desired: Option<String>,
    /// `{"reported":{key:{"timestamp":n}},"desired":{…}}`
    pub metadata: String,
}

impl Document {
    /// Goes up by one with each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When it was changed last.
    pub fn changed_at(&self) -> Timestamp {
        self.changed_at
    }

    /// Whether nothing is reported and nothing is desired.
    pub fn is_empty(&self) -> bool {
        self.reported.values.is_empty() && self.desired.values.is_empty()
    }

    pub fn reported(&self) -> &Map<String, Value> {
        &self.reported.values
    }

    pub fn desired(&self) -> &Map<String, Value> {
        &self.desired.values
    }

    /// What is desired and not reported. Computed, never stored.
    pub fn delta(&self) -> Map<String, Value> {
        merge::difference(&self.desired.values, &self.reported.values)
    }

    /// Bytes of its state as JSON.
    pub fn size(&self) -> usize {
        self.reported.size() + self.desired.size()
    }

    /// The document after an update that was accepted at `now`.
    pub fn apply(&self, update: &Update, limits: DocumentLimits, now: Timestamp) -> Result<Applied, Refusal> {
        self.check_version(update.version)?;
        let mut document = self.clone();
        let cleared_reported = document.reported.apply(&update.reported, update.overwrite, now);
        let cleared_desired = document.desired.apply(&update.desired, update.overwrite, now);
        let size = document.size();
        // One that is too large already, because the limit was lowered, may become smaller.
        if size > limits.bytes && size > self.size() {
            return Err(Refusal::TooLarge { size, limit: limits.bytes });
        }
        document.version += 1;
        document.changed_at = now;
        let news_for_device = document.has_news_after(self, update);
        Ok(Applied { document, cleared_reported, cleared_desired, news_for_device })
    }

    /// The document after a deletion: empty, and a version on, so that no later one is taken for an earlier.
    pub fn delete(&self, version: u64, now: Timestamp) -> Result<Self, Refusal> {
        self.check_version(version)?;
        Ok(Self { version: self.version + 1, changed_at: now, ..Self::default() })
    }

    fn check_version(&self, given: u64) -> Result<(), Refusal> {
        if given == 0 || given == self.version {
            return Ok(());
        }
        Err(Refusal::Conflict { given, version: self.version })
    }

    /// Something is left to do, and either somebody has just said what, or it is other than it was: a device that
    /// reports how far it is need not be told what it knows.
    fn has_news_after(&self, old: &Self, update: &Update) -> bool {
        if self.desired.values.is_empty() {
            return false;
        }
        let delta = self.delta();
        if delta.is_empty() || update.desired != Patch::Keep {
            return !delta.is_empty();
        }
        let before = old.delta();
        delta.iter().any(|(key, value)| before.get(key).is_none_or(|old| !merge::same(old, value)))
    }

    pub fn encode(&self) -> Encoded {
        // Maps of text to values: nothing in them can fail to be written to memory.
        let text =
            |part: &Part| (!part.values.is_empty()).then(|| serde_json::to_string(&part.values).unwrap_or_default());
        let metadata = super::reply::Metadata {
            reported: Times::of(&self.reported),
            desired: Times::of(&self.desired),
            delta: None,
        };
        Encoded {
            reported: text(&self.reported),
            desired: text(&self.desired),
            metadata: serde_json::to_string(&metadata).unwrap_or_default(),
        }
    }

    /// Reads what [`Document::encode`] made. `None` if it is nothing of the kind.
    pub fn decode(encoded: &Encoded, version: u64, changed_at: Timestamp) -> Option<Self> {
        #[derive(Default, Deserialize)]
        struct Written {
            timestamp: Timestamp,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Metadata {
            reported: HashMap<String, Written>,
            desired: HashMap<String, Written>,
        }
        let metadata: Metadata = serde_json::from_str(&encoded.metadata).ok()?;
        let part = |text: &Option<String>, times: HashMap<String, Written>| {
            let values = match text {
                Some(text) => serde_json::from_str(text).ok()?,
                None => Map::new(),
            };
            let written_at = times.into_iter().map(|(key, written)| (key, written.timestamp)).collect();
            Some(Part { values, written_at })
        };
        Some(Self {
            reported: part(&encoded.reported, metadata.reported)?,
            desired: part(&encoded.desired, metadata.desired)?,
            version,
            changed_at,
        })
    }
}

/// What is desired and not reported of a document as it is stored, as JSON; `None`: nothing.
pub fn stored_delta(desired: Option<&str>, reported: Option<&str>) -> Option<String> {
    let values = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let desired = desired.map(values)?;
    let delta = merge::difference(&desired, &reported.map(values).unwrap_or_default());
    (!delta.is_empty()).then(|| serde_json::to_string(&delta).unwrap_or_default())
}

impl Part {
    /// Returns the keys that were there, if all are gone because the part was cleared.
    fn apply(&mut self, patch: &Patch, overwrite: bool, now: Timestamp) -> Vec<String> {
        let patch = match patch {
            Patch::Keep => return Vec::new(),
            Patch::Clear => {
                let old = std::mem::take(self);
                return old.values.into_iter().map(|(key, _)| key).collect();
            }
            Patch::Merge(patch) => patch,
        };
        if overwrite {
            *self = Self::default();
        }
        merge::merge(&mut self.values, patch);
        for key in patch.keys() {
            if self.values.contains_key(key) {
                self.written_at.insert(key.clone(), now);
            } else {
                self.written_at.remove(key);
            }
        }
        Vec::new()
    }

    fn size(&self) -> usize {
        if self.values.is_empty() {
            return 0;
        }
        let mut counted = Counted(0);
        // Counting cannot fail.
        let _counted = serde_json::to_writer(&mut counted, &self.values);
        counted.0
    }
}

struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! What the lake holds, as its own objects say it.
//!
//! Each change is one object, `commits/NUMBER.json`, which must not have been there before: so a change is made whole or
//! not at all, and of two hubs one notices. A commit names the files that it adds and drops; every 32nd names all files
//! there are, so that a reader begins there. Files that no commit names do not exist.

use std::{collections::HashSet, sync::Arc};

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use weir_core::{Offset, Timestamp, history::TimeRange};

use super::LakeError;

/// The version of the format that is written, and the highest that is read.
const VERSION: u32 = 1;
/// Commits with a number that this divides name all files.
const WHOLE_EVERY: u64 = 32;

pub(crate) const COMMITS: &str = "commits";

/// One change of the lake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) version: u32,
    /// Whose lake it is.
    pub(crate) hub: String,
    pub(crate) number: u64,
    /// The part of the log that was compacted: from the first offset up to and without the second.
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    pub(crate) add: Vec<Arc<DataFile>>,
    /// Paths of the files that are dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) drop: Vec<String>,
    /// All files, with those added and without those dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) all: Option<Vec<Arc<DataFile>>>,
}

/// A file of messages in the order of their offsets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DataFile {
    pub(crate) path: String,
    /// The number of the commit that added it. Files of one commit cover one part of the log together.
    pub(crate) commit: u64,
    /// The product of all its messages. `None`: those of several, or of none.
    pub(crate) product: Option<String>,
    /// The offset of the first message, and one past that of the last.
    pub(crate) first: Offset,
    pub(crate) end: Offset,
    pub(crate) rows: u64,
    /// Those that are ticks of the clock.
    pub(crate) ticks: u64,
    pub(crate) row_groups: u64,
    pub(crate) oldest: Timestamp,
    pub(crate) newest: Timestamp,
    /// The first and last topic in the order of their bytes, if they are not too long.
    pub(crate) topics: Option<(String, String)>,
    pub(crate) bytes: u64,
    /// Bytes of the payloads.
    pub(crate) payload_bytes: u64,
}

impl DataFile {
    pub(crate) fn meets(&self, from: Offset, to: Offset, time: TimeRange) -> bool {
        self.first < to && from < self.end && time.meets(self.oldest, self.newest)
    }
}

/// What the lake holds at a moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// The number of the last commit; 0: there is none.
    pub(crate) number: u64,
    /// What lies below in the log is in the lake, or was and was dropped, or was lost before it came to it.
    pub(crate) to: Offset,
    /// In the order of commits, and of first offsets within one.
    pub(crate) files: Vec<Arc<DataFile>>,
}

impl Snapshot {
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows - file.ticks).sum()
    }

    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.files.iter().map(|file| file.oldest).min()
    }

    /// The commit that follows, with what it makes of the lake.
    pub(crate) fn commit(
        &self,
        hub: &str,
        from: Offset,
        to: Offset,
        add: Vec<Arc<DataFile>>,
        drop: Vec<String>,
    ) -> (Commit, Self) {
        let number = self.number + 1;
        let mut commit = Commit { version: VERSION, hub: hub.to_owned(), number, from, to, add, drop, all: None };
        let next = self.after(&commit);
        if number.is_multiple_of(WHOLE_EVERY) {
            commit.all = Some(next.files.clone());
        }
        (commit, next)
    }

    fn after(&self, commit: &Commit) -> Self {
        let files = match &commit.all {
            Some(all) => all.clone(),
            None => {
                let dropped: HashSet<&str> = commit.drop.iter().map(String::as_str).collect();
                let kept = self.files.iter().filter(|file| !dropped.contains(file.path.as_str()));
                kept.chain(&commit.add).map(Arc::clone).collect()
            }
        };
        Self { number: commit.number, to: commit.to, files }
    }

    /// Takes a commit further that was read.
    pub(crate) fn follow(&self, number: u64, content: &[u8], hub: &str) -> Result<Self, LakeError> {
        let damaged = |reason: String| LakeError::Damaged { commit: number, reason };
        // The version first: what follows it may be anything in a newer one.
        let version: Version = serde_json::from_slice(content).map_err(|error| damaged(error.to_string()))?;
        if version.version > VERSION {
            return Err(LakeError::Newer { version: version.version, supported: VERSION });
        }
        let commit: Commit = serde_json::from_slice(content).map_err(|error| damaged(error.to_string()))?;
        if commit.hub != hub {
            return Err(LakeError::Foreign);
        }
        let follows = commit.number == number && (commit.all.is_some() || number == self.number + 1);
        if !follows {
            return Err(damaged("it does not follow the one before".to_owned()));
        }
        Ok(self.after(&commit))
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The commit with which reading begins, where the last one has this number.
pub(crate) fn first_to_read(last: u64) -> u64 {
    (last - last % WHOLE_EVERY).max(1)
}

pub(crate) fn commit_path(number: u64) -> Path {
    Path::from(format!("{COMMITS}/{number:020}.json"))
}

pub(crate) fn commit_number(path: &Path) -> Option<u64> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u64) -> Arc<DataFile> {
        Arc::new(DataFile {
            path: format!("day=2026-01-01/none/{number}.parquet"),
            commit: number,
            product: None,
            first: Offset(number * 10),
            end: Offset(number * 10 + 10),
            rows: 10,
            ticks: 0,
            row_groups: 1,
            oldest: Timestamp(0),
            newest: Timestamp(9),
            topics: None,
            bytes: 100,
            payload_bytes: 50,
        })
    }

    /// Commits, and what the lake is after each.
    fn history(commits: u64) -> Vec<(Commit, Snapshot)> {
        let mut snapshot = Snapshot::default();
        (1..=commits)
            .map(|number| {
                let drop = if number % 3 == 0 { vec![file(number - 2).path.clone()] } else { Vec::new() };
                let (from, to) = (Offset(number * 10), Offset(number * 10 + 10));
                let (commit, next) = snapshot.commit("hub", from, to, vec![file(number)], drop);
                snapshot = next.clone();
                (commit, next)
            })
            .collect()
    }

    #[test]
    fn reading_commits_gives_what_writing_them_made() {
        let history = history(70);
        for (last, (_, expected)) in (1..).zip(&history) {
            let mut read = Snapshot::default();
            for number in first_to_read(last)..=last {
                let content = serde_json::to_vec(&history[number as usize - 1].0).unwrap();
                read = read.follow(number, &content, "hub").unwrap();
            }
            assert_eq!((read.number, read.to, &read.files), (last, expected.to, &expected.files));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let history = history(3);
        let content = |n: usize| serde_json::to_vec(&history[n].0).unwrap();
        let check = |outcome: Result<Snapshot, LakeError>, expected: &str| {
            assert_eq!(outcome.unwrap_err().to_string(), expected);
        };
        let first = Snapshot::default().follow(1, &content(0), "hub").unwrap();
        check(
            first.follow(3, &content(2), "hub"),
            "commit 3 of the lake is damaged: it does not follow the one before",
        );
        check(
            first.follow(2, &content(1), "other"),
            "the lake belongs to another hub: give this one another lake.location",
        );
        let newer = br#"{"version":2,"what":{}}"#;
        check(
            first.follow(2, newer, "hub"),
            "the lake has format 2, this program reads formats up to 1: use a newer program",
        );
    }
}

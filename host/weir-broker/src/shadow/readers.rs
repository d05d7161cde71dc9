//! Who reads of changes of shadows: only what somebody reads is said.
//!
//! Rules and tails are told of by those who know them, subscriptions are read off the log like all else. A rule counts
//! before its making is answered, a tail before its first read, a subscription before its acknowledgement can be.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use weir_core::{TopicFilter, shadow::may_match_changes};

#[derive(Debug, Default)]
pub(crate) struct ChangeReaders {
    rules: ArcSwap<Vec<TopicFilter>>,
    /// Guarded for one change or one look.
    tails: Mutex<BTreeMap<u64, TopicFilter>>,
    /// How many they are, so that nobody looks where nobody reads.
    tailing: AtomicUsize,
    next: AtomicU64,
}

/// A tail that reads. Dropping it is reading no longer.
#[derive(Debug)]
pub(crate) struct Reading {
    readers: Arc<ChangeReaders>,
    number: u64,
}

impl ChangeReaders {
    /// The sources of all rules that are enabled.
    pub(crate) fn set_rules<'a>(&self, sources: impl Iterator<Item = &'a TopicFilter>) {
        self.rules.store(Arc::new(sources.filter(|source| may_match_changes(source)).cloned().collect()));
    }

    pub(crate) fn tail(self: &Arc<Self>, filter: &TopicFilter) -> Option<Reading> {
        if !may_match_changes(filter) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.tails.lock().insert(number, filter.clone());
        self.tailing.fetch_add(1, Ordering::Release);
        Some(Reading { readers: Arc::clone(self), number })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.load().is_empty() && self.tailing.load(Ordering::Acquire) == 0
    }

    pub(super) fn read(&self, topic: &str) -> bool {
        self.rules.load().iter().any(|source| source.matches(topic))
            || self.tailing.load(Ordering::Acquire) > 0
                && self.tails.lock().values().any(|filter| filter.matches(topic))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.readers.tails.lock().remove(&self.number);
        self.readers.tailing.fetch_sub(1, Ordering::Release);
    }
}

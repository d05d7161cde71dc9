//! From topics to rules, remembered by topic.

use std::{mem, ptr, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;
use weir_core::{FilterTrie, TopicFilter, schema::Records};

use super::batch::Reader;
use crate::program::Input;

/// Bytes that may be spent on remembering topics. Beyond it all are forgotten.
const MAX_MEMORY: usize = 32 << 20;
/// What a remembered topic costs beside its text, about.
const ENTRY_BYTES: usize = 64;
/// What a column of a reader costs, about.
const COLUMN_BYTES: usize = 256;

/// Which rules a message is for, and what they read of it.
#[derive(Debug)]
pub(super) struct Route {
    /// Ascending, each once.
    pub(super) rules: Box<[u32]>,
    /// Absent if none of them reads the payload as JSON.
    pub(super) reader: Option<Arc<Reader>>,
}

/// The rows of a batch by route.
#[derive(Debug, Default)]
pub(super) struct Routed {
    /// In the order of their first rules, so that rules which are evaluated together find their rows together.
    pub(super) routes: Vec<Arc<Route>>,
    /// Rows in the order of routes, ascending within each.
    pub(super) rows: Vec<u32>,
    /// Where each route's rows begin, and at last where all end.
    pub(super) starts: Vec<usize>,
}

impl Routed {
    /// Where the rows of a route are.
    pub(super) fn range(&self, route: usize) -> std::ops::Range<usize> {
        let at = |index: usize| self.starts.get(index).copied().unwrap_or(self.rows.len());
        at(route)..at(route + 1)
    }

    /// The payloads to read: each reader with its rows, in the order of routes.
    pub(super) fn wanted(&self) -> Vec<(Arc<Reader>, Vec<u32>)> {
        let mut wanted: Vec<(Arc<Reader>, Vec<u32>)> = Vec::new();
        let mut known = HashMap::new();
        let mut last = (ptr::null(), 0);
        for (number, route) in self.routes.iter().enumerate() {
            let Some(reader) = &route.reader else { continue };
            // Routes beside each other often are of one shape.
            if last.0 != Arc::as_ptr(reader) {
                let at = *known.entry(Arc::as_ptr(reader)).or_insert_with(|| {
                    wanted.push((Arc::clone(reader), Vec::new()));
                    wanted.len() - 1
                });
                last = (Arc::as_ptr(reader), at);
            }
            if let (Some((_, rows)), Some(more)) = (wanted.get_mut(last.1), self.rows.get(self.range(number))) {
                rows.extend_from_slice(more);
            }
        }
        wanted
    }
}

/// Finds the rules of topics.
#[derive(Debug, Default)]
pub(super) struct Router {
    trie: FilterTrie<u32>,
    /// For each rule the inputs that it reads of payloads, if it reads them.
    reads: Vec<Option<Arc<[u32]>>>,
    inputs: Arc<[Input]>,
    /// What was found before. The lock is held while the rows of one batch are routed.
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    topics: HashMap<Box<str>, usize>,
    routes: Vec<Entry>,
    by_rules: HashMap<Box<[u32]>, usize>,
    /// By the inputs that are united.
    readers: HashMap<Box<[u32]>, Arc<Reader>>,
    bytes: usize,
    /// The number of the batch that is routed.
    batch: u64,
}

#[derive(Debug)]
struct Entry {
    route: Arc<Route>,
    /// Its first rule, at hand for sorting.
    first: Option<u32>,
    /// The last batch that had the route, and the route's number there.
    batch: u64,
    number: usize,
}

impl Router {
    /// `rules`: their filters, and which of the inputs they read.
    pub(super) fn new<'a>(
        rules: impl Iterator<Item = (&'a [TopicFilter], Option<&'a Arc<[u32]>>)>,
        inputs: Arc<[Input]>,
    ) -> Self {
        let mut router = Self { inputs, ..Self::default() };
        for (number, (filters, reads)) in (0..).zip(rules) {
            for filter in filters {
                router.trie.insert(filter, number);
            }
            router.reads.push(reads.cloned());
        }
        router
    }

    /// Sorts the messages among `records` by route; those that no rule wants are left out.
    pub(super) fn route(&self, records: &Records) -> Routed {
        let mut memory = self.memory.lock();
        memory.batch += 1;
        let mut routes = Vec::new();
        let mut numbers = Vec::with_capacity(records.len());
        // Devices often send several messages in a row.
        let mut last = None;
        for row in 0..records.len() {
            if !records.is_message(row) {
                numbers.push(None);
                continue;
            }
            let topic = records.topic.value(row);
            let number = match last {
                Some((last, number)) if last == topic => number,
                _ => memory.number(self, topic, &mut routes),
            };
            last = Some((topic, number));
            numbers.push(Some(number));
        }
        drop(memory);
        sorted(routes, &numbers)
    }

    fn find(&self, topic: &str) -> Box<[u32]> {
        let mut rules = Vec::new();
        self.trie.matches(topic, |rule| rules.push(*rule));
        rules.sort_unstable();
        // A rule may have several filters that match.
        rules.dedup();
        rules.into()
    }
}

impl Memory {
    /// The number in this batch of a topic's route.
    fn number(&mut self, router: &Router, topic: &str, routes: &mut Vec<Found>) -> usize {
        let index = match self.topics.get(topic) {
            Some(index) => *index,
            None => self.learn(router, topic),
        };
        let Some(entry) = self.routes.get_mut(index) else { return 0 };
        if entry.batch != self.batch {
            (entry.batch, entry.number) = (self.batch, routes.len());
            routes.push((entry.first, Some(Arc::clone(&entry.route))));
        }
        entry.number
    }

    fn learn(&mut self, router: &Router, topic: &str) -> usize {
        if self.bytes > MAX_MEMORY {
            *self = Self { batch: self.batch, ..Self::default() };
        }
        let rules = router.find(topic);
        let index = match self.by_rules.get(&rules) {
            Some(index) => *index,
            None => {
                let route = Arc::new(Route { reader: self.reader(router, &rules), rules: rules.clone() });
                self.bytes += 2 * mem::size_of_val::<[u32]>(&rules) + ENTRY_BYTES;
                self.routes.push(Entry { first: rules.first().copied(), route, batch: 0, number: 0 });
                self.by_rules.insert(rules, self.routes.len() - 1);
                self.routes.len() - 1
            }
        };
        self.bytes += topic.len() + ENTRY_BYTES;
        self.topics.insert(topic.into(), index);
        index
    }

    fn reader(&mut self, router: &Router, rules: &[u32]) -> Option<Arc<Reader>> {
        let reads = rules.iter().filter_map(|rule| router.reads.get(*rule as usize)?.as_ref());
        let mut lists: Vec<&Arc<[u32]>> = reads.collect();
        // Most rules of a topic read the same, and then have the same list.
        lists.dedup_by(|a, b| Arc::ptr_eq(a, b));
        if lists.is_empty() {
            return None;
        }
        let mut united: Vec<u32> = lists.into_iter().flat_map(|list| list.iter().copied()).collect();
        united.sort_unstable();
        united.dedup();
        let reader = match self.readers.get(united.as_slice()) {
            Some(reader) => Arc::clone(reader),
            None => {
                let reader = Arc::new(Reader::new(united.iter().copied(), &router.inputs));
                self.bytes += reader.columns() * COLUMN_BYTES;
                self.readers.insert(united.into(), Arc::clone(&reader));
                reader
            }
        };
        Some(reader)
    }
}

/// A route of a batch, with its first rule.
type Found = (Option<u32>, Option<Arc<Route>>);

/// Counts the rows of each route, then puts each row in its place.
fn sorted(mut routes: Vec<Found>, numbers: &[Option<usize>]) -> Routed {
    let mut order: Vec<_> = routes.iter().enumerate().map(|(at, (first, _))| (*first, at)).collect();
    order.sort_unstable();
    // First how many rows each route has, then where the next of them goes.
    let mut next = vec![0; routes.len()];
    for number in numbers.iter().flatten() {
        if let Some(count) = next.get_mut(*number) {
            *count += 1;
        }
    }
    let mut sum = 0;
    let mut starts = Vec::with_capacity(routes.len() + 1);
    for (_, at) in &order {
        starts.push(sum);
        if let Some(next) = next.get_mut(*at) {
            sum += mem::replace(next, sum);
        }
    }
    starts.push(sum);
    let routes = order.iter().filter_map(|(_, at)| routes.get_mut(*at)?.1.take()).collect();
    let mut rows = vec![0; sum];
    for (row, number) in (0..).zip(numbers) {
        let Some(place) = number.and_then(|number| next.get_mut(number)) else { continue };
        if let Some(entry) = rows.get_mut(*place) {
            *entry = row;
        }
        *place += 1;
    }
    Routed { routes, rows, starts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::tests::messages;

    #[test]
    fn topics_are_found_again_after_all_were_forgotten() {
        let filters: Vec<TopicFilter> = ["a/+", "a/b", "#"].iter().map(|filter| filter.parse().unwrap()).collect();
        let reads: Arc<[u32]> = Arc::new([0]);
        let rules = [(&filters[..2], Some(&reads)), (&filters[2..], None)];
        let router = Router::new(rules.into_iter(), Arc::new([Input::PayloadJson]));
        let records = messages(&[("a/b", ""), ("x", ""), ("a/c", ""), ("a/b", "")]);
        for _ in 0..3 {
            let routed = router.route(&records);
            let rules: Vec<&[u32]> = routed.routes.iter().map(|route| &*route.rules).collect();
            assert_eq!(rules, [&[0, 1][..], &[1]]);
            assert_eq!(routed.rows, [0, 2, 3, 1]);
            let [(_, rows)] = &*routed.wanted() else { panic!("one reader") };
            assert_eq!(rows, &[0, 2, 3]);
            assert_eq!(router.memory.lock().topics.len(), 3);
            router.memory.lock().bytes = MAX_MEMORY + 1;
        }
    }
}

//! Who gets messages of a topic, and how.

use std::{collections::HashMap, sync::Arc};

use weir_core::{FilterTrie, Qos, Subscription, SubscriptionFilter};

/// Distinct topics whose takers are remembered.
const MEMO_TOPICS: usize = 65_536;

/// Where a subscription leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// The place of a session.
    Session(usize),
    /// The place of a shared subscription.
    Shared(usize),
}

/// A subscription as it is filed under its filter.
#[derive(Debug, Clone, Copy)]
struct Filed {
    destination: Destination,
    qos: Qos,
    no_local: bool,
    retain_as_published: bool,
    identifier: Option<u32>,
}

/// How a session gets messages of a topic: once, with the highest quality of service among its subscriptions that match
/// (MQTT 3.1.1 §3.3.5), and with all their identifiers [MQTT5-3.3.4-4].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) qos: Qos,
    pub(super) retain_as_published: bool,
    pub(super) identifiers: Option<Arc<Vec<u32>>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taker {
    pub(super) session: usize,
    pub(super) manner: Manner,
    /// How it gets its own messages, if that differs: `Some(None)` is not at all.
    pub(super) own: Option<Option<Manner>>,
}

/// Everyone who gets messages of one topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Takers {
    pub(super) sessions: Vec<Taker>,
    /// Places of shared subscriptions.
    pub(super) shared: Vec<usize>,
}

/// Subscriptions by filter, and what was found for topics lately.
#[derive(Debug, Default)]
pub(super) struct Index {
    filters: FilterTrie<Filed>,
    memo: HashMap<Box<str>, Arc<Takers>>,
}

impl Index {
    pub(super) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Files a session's own subscription; the one it had under the same filter must have been removed.
    pub(super) fn insert(&mut self, session: usize, subscription: &Subscription) {
        let filed = Filed {
            destination: Destination::Session(session),
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            identifier: subscription.identifier,
        };
        self.filters.insert(subscription.filter.filter(), filed);
        self.memo.clear();
    }

    /// Files a shared subscription, once for all its members.
    pub(super) fn insert_shared(&mut self, shared: usize, filter: &SubscriptionFilter) {
        let filed = Filed {
            destination: Destination::Shared(shared),
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: true,
            identifier: None,
        };
        self.filters.insert(filter.filter(), filed);
        self.memo.clear();
    }

    pub(super) fn remove(&mut self, destination: Destination, filter: &SubscriptionFilter) {
        self.filters.remove(filter.filter(), |filed| filed.destination == destination);
        self.memo.clear();
    }

    pub(super) fn takers(&mut self, topic: &str) -> Arc<Takers> {
        if let Some(known) = self.memo.get(topic) {
            return Arc::clone(known);
        }
        let takers = Arc::new(self.find(topic));
        if self.memo.len() >= MEMO_TOPICS {
            self.memo.clear();
        }
        self.memo.insert(topic.into(), Arc::clone(&takers));
        takers
    }

    fn find(&self, topic: &str) -> Takers {
        let mut takers = Takers::default();
        let mut found: Vec<(usize, Filed)> = Vec::new();
        self.filters.matches(topic, |filed| match filed.destination {
            Destination::Session(session) => found.push((session, *filed)),
            Destination::Shared(shared) => takers.shared.push(shared),
        });
        takers.shared.sort_unstable();
        found.sort_by_key(|(session, _)| *session);
        for group in found.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((session, _)) = group.first() else { continue };
            let Some(manner) = manner(group.iter().map(|(_, filed)| filed)) else { continue };
            let local = group.iter().any(|(_, filed)| filed.no_local);
            let own = local.then(|| manner_of_own(group));
            takers.sessions.push(Taker { session: *session, manner, own });
        }
        takers
    }
}

fn manner_of_own(group: &[(usize, Filed)]) -> Option<Manner> {
    manner(group.iter().map(|(_, filed)| filed).filter(|filed| !filed.no_local))
}

fn manner<'a>(subscriptions: impl Iterator<Item = &'a Filed>) -> Option<Manner> {
    let mut manner: Option<Manner> = None;
    let mut identifiers = Vec::new();
    for filed in subscriptions {
        identifiers.extend(filed.identifier);
        let first = Manner { qos: filed.qos, retain_as_published: filed.retain_as_published, identifiers: None };
        let manner = manner.get_or_insert(first);
        manner.qos = manner.qos.max(filed.qos);
        manner.retain_as_published |= filed.retain_as_published;
    }
    identifiers.sort_unstable();
    identifiers.dedup();
    if !identifiers.is_empty()
        && let Some(manner) = &mut manner
    {
        manner.identifiers = Some(Arc::new(identifiers));
    }
    manner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(filter: &str, qos: u8, identifier: Option<u32>, no_local: bool) -> Subscription {
        let mut subscription = Subscription::new(filter.parse().unwrap(), Qos::from_u8(qos).unwrap());
        subscription.identifier = identifier;
        subscription.no_local = no_local;
        subscription
    }

    #[test]
    fn overlapping_subscriptions_make_one_message() {
        let mut index = Index::default();
        index.insert(1, &subscription("a/+", 2, Some(7), false));
        index.insert(1, &subscription("a/b", 1, Some(3), false));
        index.insert(2, &subscription("#", 0, None, false));
        let takers = index.takers("a/b");
        let manner = Manner {
            qos: Qos::ExactlyOnce, // [MQTT-3.3.5-1]
            retain_as_published: false,
            identifiers: Some(Arc::new(vec![3, 7])), // [MQTT5-3.3.4-4]
        };
        assert_eq!(takers.sessions[0], Taker { session: 1, manner, own: None });
        assert_eq!((takers.sessions[1].session, takers.sessions.len()), (2, 2));
        index.remove(Destination::Session(1), &"a/+".parse().unwrap());
        assert_eq!(index.takers("a/b").sessions[0].manner.qos, Qos::AtLeastOnce);
        assert_eq!(index.takers("a/c").sessions.len(), 1);
    }

    #[test]
    fn no_local_leaves_out_only_its_own_subscription() {
        let mut index = Index::default();
        index.insert(1, &subscription("a/b", 2, Some(1), true));
        assert_eq!(index.takers("a/b").sessions[0].own, Some(None)); // [MQTT5-3.8.3-3]
        index.insert(1, &subscription("a/+", 1, Some(2), false));
        let takers = index.takers("a/b");
        let own = Manner { qos: Qos::AtLeastOnce, retain_as_published: false, identifiers: Some(Arc::new(vec![2])) };
        assert_eq!(takers.sessions[0].own, Some(Some(own)));
        assert_eq!(takers.sessions[0].manner.qos, Qos::ExactlyOnce);
    }

    #[test]
    fn a_shared_subscription_is_found_beside_others() {
        let mut index = Index::default();
        let shared: SubscriptionFilter = "$share/g/a/#".parse().unwrap();
        index.insert_shared(4, &shared);
        index.insert(1, &subscription("a/b", 0, None, false));
        let takers = index.takers("a/b");
        assert_eq!((takers.shared.as_slice(), takers.sessions.len()), (&[4][..], 1));
        index.remove(Destination::Shared(4), &shared);
        assert!(index.takers("a/b").shared.is_empty());
    }
}

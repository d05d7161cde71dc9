//! The sessions there are, as the log makes them: who subscribed to what, what each was given, and until when it is kept.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use slab::Slab;
use weir_core::{Qos, Subscription, SubscriptionFilter, Timestamp, schema::Records};

use super::control::Opened;
use crate::{
    inbox::{
        Inbox,
        queue::{Place, Row},
        shared::SharedQueue,
    },
    session::SessionKey,
};

#[derive(Debug)]
pub(super) struct SessionState {
    pub(super) key: SessionKey,
    pub(super) client_id: String,
    pub(super) inbox: Arc<Inbox>,
    /// The connection that opened it last.
    pub(super) connection: u64,
    /// Whether that connection found state of an earlier one.
    pub(super) present: bool,
    /// Seconds that it is kept without a connection.
    pub(super) expiry: u32,
    /// Whether the log knows of it. If not, it ends with its connection.
    pub(super) kept: bool,
    pub(super) offline_since: Option<Timestamp>,
    pub(super) subscriptions: Subscriptions,
    /// Identifiers of QoS 2 messages that the client has not released.
    pub(super) received: BTreeSet<u16>,
    /// The number of its next message.
    pub(super) next: u64,
    /// Every message below was done when the hub last wrote it down.
    pub(super) done: u64,
    /// Rows of the frame in hand.
    pub(super) rows: Vec<Row>,
    /// Since it was last stored.
    pub(super) changed: bool,
}

impl SessionState {
    pub(super) fn new(key: SessionKey, opened: &Opened, inbox: Arc<Inbox>, kept: bool) -> Self {
        Self {
            key,
            client_id: opened.client_id.clone(),
            inbox,
            connection: opened.connection,
            present: false,
            expiry: opened.expiry,
            kept,
            offline_since: None,
            subscriptions: Subscriptions::default(),
            received: BTreeSet::new(),
            next: 0,
            done: 0,
            rows: Vec::new(),
            changed: true,
        }
    }

    /// Takes note of a row that it is given. A message that was done before a restart is numbered and passed over.
    pub(super) fn give(
        &mut self,
        place: Place,
        size: usize,
        qos: Qos,
        retain: bool,
        identifiers: Option<Arc<Vec<u32>>>,
    ) {
        let number = self.next;
        if qos > Qos::AtMostOnce {
            self.next += 1;
            self.changed = true;
            if number < self.done {
                return;
            }
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.rows.push(Row { place, number, identifiers, size, qos, dup: false, retain });
    }

    /// Whether it published a message itself.
    pub(super) fn is_publisher(&self, records: &Records, row: usize) -> bool {
        let client_id = weir_core::schema::optional_text(&records.session, row).unwrap_or_default();
        records.publisher.value(row) == self.key.owner()
            && SessionKey::of_publisher(self.key.owner(), client_id) == self.key
    }

    /// Whether it was without a connection for as long as it is kept.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        let kept_for = i64::from(self.expiry).saturating_mul(1_000);
        self.offline_since.is_some_and(|since| now.0.saturating_sub(since.0) >= kept_for)
    }
}

/// A session's subscriptions. Most sessions have one or two, so they lie side by side.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// In the order of their filters.
    sorted: Vec<Subscription>,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(super) fn contains(&self, filter: &SubscriptionFilter) -> bool {
        self.place(filter).is_ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.sorted.iter()
    }

    pub(super) fn filters(&self) -> impl Iterator<Item = &SubscriptionFilter> {
        self.sorted.iter().map(|subscription| &subscription.filter)
    }

    /// Adds a subscription, and gives back the one that had its filter.
    pub(super) fn insert(&mut self, subscription: Subscription) -> Option<Subscription> {
        match self.place(&subscription.filter) {
            Ok(at) => self.sorted.get_mut(at).map(|old| std::mem::replace(old, subscription)),
            Err(at) => {
                if self.sorted.is_empty() {
                    self.sorted.reserve_exact(1);
                }
                self.sorted.insert(at, subscription);
                None
            }
        }
    }

    /// Says whether there was one.
    pub(super) fn remove(&mut self, filter: &SubscriptionFilter) -> bool {
        self.place(filter).map(|at| self.sorted.remove(at)).is_ok()
    }

    fn place(&self, filter: &SubscriptionFilter) -> Result<usize, usize> {
        self.sorted.binary_search_by(|subscription| subscription.filter.cmp(filter))
    }
}

/// A shared subscription and its members.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) filter: SubscriptionFilter,
    pub(super) queue: Arc<SharedQueue>,
    /// Places of sessions.
    pub(super) members: Vec<usize>,
    /// The member that is woken next.
    pub(super) turn: usize,
    /// Every message below was done when the hub last wrote it down.
    pub(super) done: u64,
    /// Rows of the frame in hand.
    pub(super) rows: Vec<Row>,
    /// Since it was last stored.
    pub(super) changed: bool,
}

/// All sessions and shared subscriptions, each at its place.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    pub(super) slots: Slab<SessionState>,
    by_key: HashMap<SessionKey, usize>,
    /// How many are kept of each owner.
    kept: HashMap<Box<str>, usize>,
    pub(super) shared: Slab<Shared>,
    by_filter: HashMap<SubscriptionFilter, usize>,
    /// Keys of sessions that were kept and have ended since the last step.
    pub(super) ended: BTreeSet<String>,
    pub(super) ended_shared: BTreeSet<String>,
}

impl Sessions {
    pub(super) fn place(&self, key: &SessionKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    pub(super) fn get(&self, key: &SessionKey) -> Option<&SessionState> {
        self.slots.get(self.place(key)?)
    }

    pub(super) fn get_mut(&mut self, key: &SessionKey) -> Option<&mut SessionState> {
        let place = self.place(key)?;
        self.slots.get_mut(place)
    }

    /// There must be none of the same key.
    pub(super) fn insert(&mut self, state: SessionState) -> usize {
        let key = state.key.clone();
        if state.kept {
            *self.kept.entry(key.owner().into()).or_default() += 1;
        }
        let place = self.slots.insert(state);
        self.by_key.insert(key, place);
        place
    }

    pub(super) fn remove(&mut self, place: usize) -> Option<SessionState> {
        let state = self.slots.try_remove(place)?;
        self.by_key.remove(&state.key);
        if state.kept {
            self.ended.insert(state.key.as_str().to_owned());
            if let Some(count) = self.kept.get_mut(state.key.owner()) {
                *count -= 1;
                if *count == 0 {
                    self.kept.remove(state.key.owner());
                }
            }
        }
        Some(state)
    }

    /// How many are kept in all.
    pub(super) fn kept(&self) -> usize {
        self.kept.values().sum()
    }

    /// How many are kept of one owner.
    pub(super) fn kept_of(&self, owner: &str) -> usize {
        self.kept.get(owner).copied().unwrap_or(0)
    }

    pub(super) fn shared_place(&self, filter: &SubscriptionFilter) -> Option<usize> {
        self.by_filter.get(filter).copied()
    }

    pub(super) fn insert_shared(&mut self, shared: Shared) -> usize {
        let filter = shared.filter.clone();
        let place = self.shared.insert(shared);
        self.by_filter.insert(filter, place);
        place
    }

    pub(super) fn remove_shared(&mut self, place: usize) {
        if let Some(shared) = self.shared.try_remove(place) {
            self.by_filter.remove(&shared.filter);
            self.ended_shared.insert(shared.queue.name.clone());
        }
    }
}

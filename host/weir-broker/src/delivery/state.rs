//! What others may know of Delivery while it runs, and how they reach it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{mpsc, oneshot};
use weir_core::{Offset, SubscriptionFilter, Timestamp};

use crate::{
    inbox::{Inbox, ledger::Ledger},
    line::Line,
    session::SessionKey,
};

/// A connection wants a session.
#[derive(Debug)]
pub(crate) struct Attach {
    pub(crate) key: SessionKey,
    pub(crate) client_id: String,
    pub(crate) line: Arc<Line>,
    /// Messages that may be in flight.
    pub(crate) window: usize,
    /// The record that opens the session. Without one the session is not kept.
    pub(crate) opened_at: Option<Offset>,
}

/// What a connection gets.
#[derive(Debug)]
pub(crate) enum Attached {
    Session {
        inbox: Arc<Inbox>,
        /// Whether state of an earlier connection goes on.
        present: bool,
        /// Identifiers of QoS 2 messages that the client has not released.
        received: Vec<u16>,
        subscriptions: Vec<SubscriptionFilter>,
    },
    /// There is a session that is kept: ending it takes a record.
    Kept,
    /// Another connection has opened the session since.
    TakenOver,
}

/// A session as Delivery knows it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) client_id: String,
    pub(crate) expiry: u32,
    /// Whether the log knows of it.
    pub(crate) kept: bool,
    pub(crate) offline_since: Option<Timestamp>,
    pub(crate) subscriptions: Vec<SubscriptionFilter>,
    pub(crate) ledger: Ledger,
    pub(crate) pending: u64,
}

#[derive(Debug)]
pub(crate) enum Request {
    Attach(Attach, oneshot::Sender<Attached>),
    /// Answered when the record at this offset was acted on.
    Reach(Offset, oneshot::Sender<()>),
    /// How many subscriptions a session has, and which of these it has.
    Holds(SessionKey, Vec<SubscriptionFilter>, oneshot::Sender<(usize, Vec<bool>)>),
    Describe(SessionKey, oneshot::Sender<Option<Described>>),
    /// Every subscription there is.
    Subscriptions(oneshot::Sender<Vec<(SessionKey, SubscriptionFilter)>>),
    /// How many sessions are kept in all, how many of one owner, and whether this one is.
    Kept(SessionKey, oneshot::Sender<(usize, usize, bool)>),
    /// Sessions of one owner that are kept: a device's, or a key's.
    OwnedBy(String, oneshot::Sender<Vec<SessionKey>>),
}

/// A connection that is gone.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) key: SessionKey,
    pub(crate) connection: u64,
    /// Whether it has written down that it is gone.
    pub(crate) is_written: bool,
}

#[derive(Debug, Default)]
pub(crate) struct DeliveryState {
    /// The log keeps everything from here.
    floor: AtomicU64,
    /// What the store has is of this position.
    saved: AtomicU64,
    /// A connection's end must not wait for room in a channel.
    pub(crate) gone: parking_lot::Mutex<Vec<Gone>>,
    pub(crate) gone_notify: tokio::sync::Notify,
}

impl DeliveryState {
    pub(crate) fn at(position: Offset) -> Self {
        let all = || AtomicU64::new(position.0);
        Self { floor: all(), saved: all(), ..Self::default() }
    }

    /// What lies before is neither needed to deliver what waits nor to start again.
    pub(crate) fn floor(&self) -> Offset {
        Offset(self.floor.load(Ordering::Acquire))
    }

    pub(super) fn raise_floor(&self, floor: Offset) {
        self.floor.fetch_max(floor.0, Ordering::AcqRel);
    }

    pub(super) fn saved(&self) -> Offset {
        Offset(self.saved.load(Ordering::Acquire))
    }

    pub(super) fn set_saved(&self, position: Offset) {
        self.saved.store(position.0, Ordering::Release);
    }

    /// Tells Delivery of a connection's end.
    pub(crate) fn tell_gone(&self, gone: Gone) {
        self.gone.lock().push(gone);
        self.gone_notify.notify_one();
    }
}

/// The way to Delivery. `None` from any of its questions: the hub is going down.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryHandle {
    pub(crate) state: Arc<DeliveryState>,
    pub(crate) requests: mpsc::Sender<Request>,
}

impl DeliveryHandle {
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.ok()?;
        answered.await.ok()
    }
}

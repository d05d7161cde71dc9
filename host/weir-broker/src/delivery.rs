//! Delivery: from the log to the inboxes of the sessions that subscribed.
//!
//! One task owns all subscriptions and reads the log with a cursor of its own. Frames that hold only QoS 0 messages are
//! delivered when they are appended, all others when they are durable; either way in the order of the log.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};
use weir_core::{FilterTrie, Offset, Qos, TopicFilter};
use weir_log::{Durable, Frame, Log, Reader};

use crate::{
    Drain,
    broker::Ailment,
    inbox::{Inbox, OutboundRow},
};

/// Distinct topics whose subscribers are remembered.
const MEMO_TOPICS: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) session: u64,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) filter: TopicFilter,
    pub(crate) qos: Qos,
}

#[derive(Debug)]
pub(crate) enum DeliveryRequest {
    Subscribe(Subscription),
    Unsubscribe { session: u64, filter: TopicFilter },
}

/// A request and where the answer goes: whether the subscription existed.
pub(crate) type Request = (DeliveryRequest, oneshot::Sender<bool>);

/// What others may know of Delivery while it runs.
#[derive(Debug, Default)]
pub(crate) struct DeliveryState {
    position: AtomicU64,
    /// Sessions that ended; a session's end must not wait for room in a channel.
    pub(crate) ended: parking_lot::Mutex<Vec<u64>>,
    pub(crate) ended_notify: tokio::sync::Notify,
}

impl DeliveryState {
    /// One past the last record delivered. The log keeps everything from here.
    pub(crate) fn position(&self) -> Offset {
        Offset(self.position.load(Ordering::Acquire))
    }

    pub(crate) fn at(position: Offset) -> Self {
        Self { position: AtomicU64::new(position.0), ..Self::default() }
    }
}

/// Who gets messages of a topic.
type Subscribers = Arc<[(u64, Qos)]>;

#[derive(Debug)]
pub(crate) struct Delivery {
    reader: Reader,
    durable: Durable,
    state: Arc<DeliveryState>,
    ailment: Ailment,
    requests: mpsc::Receiver<Request>,
    subscriptions: FilterTrie<(u64, Qos)>,
    sessions: HashMap<u64, Subscriber>,
    memo: HashMap<Box<str>, Subscribers>,
}

#[derive(Debug)]
struct Subscriber {
    inbox: Arc<Inbox>,
    filters: HashMap<TopicFilter, Qos>,
    /// Rows of the frame in hand.
    rows: Vec<OutboundRow>,
}

impl Delivery {
    pub(crate) fn new(
        log: &Log,
        state: Arc<DeliveryState>,
        ailment: Ailment,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        Self {
            reader: log.reader(state.position()),
            durable: log.durable(),
            state,
            ailment,
            requests,
            subscriptions: FilterTrie::new(),
            sessions: HashMap::new(),
            memo: HashMap::new(),
        }
    }

    pub(crate) async fn run(mut self, drain: Drain) {
        let state = Arc::clone(&self.state);
        loop {
            tokio::select! {
                biased;
                () = drain.token().cancelled() => return,
                Some((request, done)) = self.requests.recv() => {
                    let existed = self.serve(request);
                    // A session that stopped waiting needs no answer.
                    let _unheard = done.send(existed);
                }
                () = state.ended_notify.notified() => {
                    let ended = std::mem::take(&mut *state.ended.lock());
                    ended.into_iter().for_each(|session| self.end(session));
                }
                frame = self.reader.next() => match frame {
                    Ok(frame) => {
                        let last = Offset(frame.next.0.saturating_sub(1));
                        if frame.acknowledged && self.durable.wait_for(last).await.is_err() {
                            return;
                        }
                        self.deliver(&frame);
                        self.state.position.store(frame.next.0, Ordering::Release);
                    }
                    Err(error) => {
                        tracing::error!(%error, "delivery cannot read the log");
                        self.ailment.tell("messages are not delivered: the log cannot be read");
                        return;
                    }
                },
            }
        }
    }

    fn serve(&mut self, request: DeliveryRequest) -> bool {
        self.memo.clear();
        match request {
            DeliveryRequest::Subscribe(Subscription { session, inbox, filter, qos }) => {
                let subscriber = self.sessions.entry(session).or_insert_with(|| Subscriber {
                    inbox,
                    filters: HashMap::new(),
                    rows: Vec::new(),
                });
                let existed = subscriber.filters.insert(filter.clone(), qos).is_some();
                if existed {
                    self.subscriptions.remove(&filter, |(id, _)| *id == session);
                }
                self.subscriptions.insert(&filter, (session, qos));
                existed
            }
            DeliveryRequest::Unsubscribe { session, filter } => {
                let Some(subscriber) = self.sessions.get_mut(&session) else { return false };
                let existed = subscriber.filters.remove(&filter).is_some();
                if existed {
                    self.subscriptions.remove(&filter, |(id, _)| *id == session);
                }
                existed
            }
        }
    }

    fn end(&mut self, session: u64) {
        if let Some(subscriber) = self.sessions.remove(&session) {
            for filter in subscriber.filters.keys() {
                self.subscriptions.remove(filter, |(id, _)| *id == session);
            }
            self.memo.clear();
        }
    }

    fn deliver(&mut self, frame: &Arc<Frame>) {
        if self.subscriptions.is_empty() {
            return;
        }
        let records = &frame.records;
        let mut touched: Vec<u64> = Vec::new();
        for row in 0..records.len() {
            if !records.is_message(row) {
                continue;
            }
            let published = Qos::from_u8(records.qos.value(row)).unwrap_or_default();
            let subscribers = self.subscribers(records.topic.value(row));
            for (session, qos) in subscribers.iter() {
                let Some(subscriber) = self.sessions.get_mut(session) else { continue };
                if subscriber.rows.is_empty() {
                    touched.push(*session);
                }
                // Rows of a frame are counted in u32 on disk.
                let row = u32::try_from(row).unwrap_or(u32::MAX);
                subscriber.rows.push(OutboundRow { row, qos: published.min(*qos) });
            }
        }
        for session in touched {
            if let Some(subscriber) = self.sessions.get_mut(&session) {
                subscriber.inbox.push(frame, std::mem::take(&mut subscriber.rows));
            }
        }
    }

    /// Each session once, with the highest quality of service among its filters that match (MQTT 3.1.1 §3.3.5).
    fn subscribers(&mut self, topic: &str) -> Subscribers {
        if let Some(known) = self.memo.get(topic) {
            return Arc::clone(known);
        }
        let mut found: Vec<(u64, Qos)> = Vec::new();
        self.subscriptions.matches(topic, |subscription| found.push(*subscription));
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        found.dedup_by_key(|(session, _)| *session);
        let found: Subscribers = found.into();
        if self.memo.len() >= MEMO_TOPICS {
            self.memo.clear();
        }
        self.memo.insert(topic.into(), Arc::clone(&found));
        found
    }
}

//! Delivery: from the log to the inboxes of the sessions that subscribed.
//!
//! One task owns sessions, subscriptions and retained messages, and reads the log with a cursor of its own. All of them
//! are what the log makes of them: a connection that subscribes appends a record, and when Delivery comes to it, it is
//! so. What Delivery knows is stored from time to time as it was after a record ([`save`]); a start reads that, and the
//! log from there on.
//!
//! Frames that hold only QoS 0 messages are delivered when they are appended, all others when they are durable; either
//! way in the order of the log.

mod apply;
mod control;
mod matching;
mod retained;
mod save;
mod saver;
mod sessions;
mod state;
mod upkeep;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};
use weir_core::{Offset, Qos, schema::Records};
use weir_log::{Clock, Durable, Frame, Log, ReadError, Reader};
use weir_store::{Store, StoreError};

pub(crate) use self::{
    control::{Change, Closed, ControlRecord, Opened},
    state::{Attach, Attached, DeliveryHandle, DeliveryState, Described, Gone, Request},
};
use self::{
    matching::{Destination, Index, Taker},
    retained::Retained,
    saver::{Saver, Work},
    sessions::{Sessions, Subscriptions},
    upkeep::Upkeep,
};
use crate::{
    Drain, Limits,
    broker::Ailment,
    inbox::{Bounds, Moment, queue::Place},
    message::KeptMessage,
    metrics::Metrics,
};

/// Questions that may wait.
const REQUESTS: usize = 1_024;
/// How often expiry, progress and snapshots are looked at.
const UPKEEP: Duration = Duration::from_secs(1);

pub(crate) struct Delivery {
    log: Log,
    clock: Clock,
    reader: Reader,
    durable: Durable,
    /// One past the last record acted on.
    position: Offset,
    state: Arc<DeliveryState>,
    ailment: Ailment,
    metrics: Metrics,
    requests: mpsc::Receiver<Request>,
    /// Steps to be stored.
    work: mpsc::Sender<Work>,
    bounds: Bounds,
    moment: Moment,
    index: Index,
    sessions: Sessions,
    retained: Retained,
    /// Those who wait for a record to be acted on.
    waiting: BTreeMap<Offset, Vec<Waiting>>,
    /// Places of sessions and shared subscriptions that the frame in hand gave rows to.
    touched: Vec<Destination>,
    upkeep: Upkeep,
}

#[derive(Debug)]
enum Waiting {
    Attach(Attach, oneshot::Sender<Attached>),
    Reach(oneshot::Sender<()>),
}

/// What Delivery is made of.
pub(crate) struct DeliveryParts<'a> {
    pub(crate) log: &'a Log,
    pub(crate) store: &'a Store,
    pub(crate) clock: &'a Clock,
    pub(crate) limits: &'a Limits,
    pub(crate) metrics: &'a Metrics,
    pub(crate) ailment: &'a Ailment,
    pub(crate) drain: &'a Drain,
}

impl DeliveryParts<'_> {
    /// Reads what was stored and the log from there on, and starts the task. When this returns, every session is as it
    /// was.
    pub(crate) async fn start(self) -> Result<DeliveryHandle, StoreError> {
        let Self { log, store, clock, limits, metrics, ailment, drain } = self;
        let saved = store.delivery().await?;
        let position = saved.position.unwrap_or_default().max(log.oldest());
        let state = Arc::new(DeliveryState::at(position));
        let (work, works) = mpsc::channel(1);
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let handle = DeliveryHandle { state: Arc::clone(&state), requests };
        let mut delivery = Delivery {
            log: log.clone(),
            clock: clock.clone(),
            reader: log.reader(position),
            durable: log.durable(),
            position,
            state: Arc::clone(&state),
            ailment: ailment.clone(),
            metrics: metrics.clone(),
            requests: receiver,
            work,
            bounds: limits.inbox(),
            moment: Moment::Replay,
            index: Index::default(),
            sessions: Sessions::default(),
            retained: Retained::new(limits.retained_messages, limits.retained_bytes, metrics.clone()),
            waiting: BTreeMap::new(),
            touched: Vec::new(),
            upkeep: Upkeep::new(position),
        };
        delivery.restore(saved);
        delivery.replay().await;
        let saver = Saver { store: store.clone(), log: log.clone(), state, works };
        drain.spawn("delivery's store", saver.run());
        drain.spawn("delivery", delivery.run(drain.clone()));
        Ok(handle)
    }
}

impl Delivery {
    /// Acts on what the log holds already.
    async fn replay(&mut self) {
        let (from, end) = (self.position, self.log.appended());
        while self.position < end {
            match self.reader.next_durable().await {
                Ok(frame) => self.act_on(&frame),
                Err(ReadError::Overtaken { oldest, .. }) => {
                    tracing::error!(%from, %oldest, "the log lacks messages that sessions were to get");
                    self.position = oldest;
                }
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
        }
        self.moment = Moment::Live;
        self.begin_live();
        tracing::debug!(%from, %end, sessions = self.sessions.slots.len(), "sessions are as they were");
    }

    async fn run(mut self, drain: Drain) {
        let state = Arc::clone(&self.state);
        let mut upkeep = tokio::time::interval(UPKEEP);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = drain.token().cancelled() => break,
                Some(request) = self.requests.recv() => self.serve(request),
                () = state.gone_notify.notified() => self.let_go(),
                _ = upkeep.tick() => self.look_after(Instant::now()),
                frame = self.reader.next() => match frame {
                    Ok(frame) => {
                        let last = Offset(frame.next.0.saturating_sub(1));
                        if frame.acknowledged && self.durable.wait_for(last).await.is_err() {
                            break;
                        }
                        self.act_on(&frame);
                    }
                    Err(ReadError::Stopped) => break,
                    Err(error) => {
                        self.fail(&error);
                        break;
                    }
                },
            }
        }
        self.finish().await;
    }

    fn fail(&self, error: &ReadError) {
        tracing::error!(%error, "delivery cannot read the log");
        self.ailment.tell("messages are not delivered: the log cannot be read");
    }

    fn serve(&mut self, request: Request) {
        // Whoever stopped waiting needs no answer.
        match request {
            Request::Attach(attach, answer) => match attach.opened_at {
                Some(at) if at >= self.position => {
                    self.waiting.entry(at).or_default().push(Waiting::Attach(attach, answer));
                }
                _ => self.attach(attach, answer),
            },
            Request::Reach(at, answer) if at >= self.position => {
                self.waiting.entry(at).or_default().push(Waiting::Reach(answer));
            }
            Request::Reach(_, answer) => answer.send(()).unwrap_or_default(),
            Request::Holds(key, filters, answer) => {
                let held = self.sessions.get(&key).map(|session| &session.subscriptions);
                let which = filters.iter().map(|filter| held.is_some_and(|held| held.contains(filter))).collect();
                answer.send((held.map_or(0, Subscriptions::len), which)).unwrap_or_default();
            }
            Request::Describe(key, answer) => {
                let _unheard = answer.send(self.sessions.get(&key).map(|session| {
                    let (ledger, pending) = session.inbox.ledger();
                    Described {
                        client_id: session.client_id.clone(),
                        expiry: session.expiry,
                        kept: session.kept,
                        offline_since: session.offline_since,
                        subscriptions: session.subscriptions.filters().cloned().collect(),
                        ledger,
                        pending,
                    }
                }));
            }
            Request::Subscriptions(answer) => {
                let held = |session: &sessions::SessionState| {
                    let key = session.key.clone();
                    session.subscriptions.filters().map(move |filter| (key.clone(), filter.clone())).collect::<Vec<_>>()
                };
                let all = self.sessions.slots.iter().flat_map(|(_, session)| held(session)).collect();
                answer.send(all).unwrap_or_default();
            }
            Request::Kept(key, answer) => {
                let is_kept = self.sessions.get(&key).is_some_and(|session| session.kept);
                let counts = (self.sessions.kept(), self.sessions.kept_of(key.owner()), is_kept);
                let _unheard = answer.send(counts);
            }
            Request::OwnedBy(owner, answer) => {
                let sessions = self.sessions.slots.iter().map(|(_, session)| session);
                let owned = sessions.filter(|session| session.kept && session.key.owner() == owner);
                answer.send(owned.map(|session| session.key.clone()).collect()).unwrap_or_default();
            }
        }
    }

    /// Gives a session to a connection.
    fn attach(&mut self, attach: Attach, answer: oneshot::Sender<Attached>) {
        let Attach { key, client_id, line, window, opened_at } = attach;
        if opened_at.is_none() {
            if self.sessions.get(&key).is_some_and(|session| session.kept) {
                return answer.send(Attached::Kept).unwrap_or_default();
            }
            if let Some(old) = self.sessions.place(&key) {
                self.end(old);
            }
            let opened = Opened { connection: line.id, client_id, clean: true, expiry: 0 };
            self.open(&key, &opened, false);
        }
        let Some(session) = self.sessions.get_mut(&key).filter(|session| session.connection == line.id) else {
            return answer.send(Attached::TakenOver).unwrap_or_default();
        };
        session.inbox.attach(&line, window);
        session.offline_since = None;
        let attached = Attached::Session {
            inbox: Arc::clone(&session.inbox),
            present: session.present,
            received: session.received.iter().copied().collect(),
            subscriptions: session.subscriptions.filters().cloned().collect(),
        };
        let _unheard = answer.send(attached);
    }

    /// Acts on everything in a frame, and answers those who waited for it.
    fn act_on(&mut self, frame: &Arc<Frame>) {
        self.deliver(frame);
        self.position = frame.next;
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() < frame.next) {
            for waiting in first.remove() {
                match waiting {
                    Waiting::Attach(attach, answer) => self.attach(attach, answer),
                    Waiting::Reach(answer) => answer.send(()).unwrap_or_default(),
                }
            }
        }
    }

    fn deliver(&mut self, frame: &Arc<Frame>) {
        let records = &frame.records;
        for row in 0..records.len() {
            if !records.is_message(row) {
                self.apply(frame, row);
                continue;
            }
            if records.retain.value(row)
                && let Some(message) = KeptMessage::of_row(records, row)
            {
                self.retained.set(message);
            }
            if records.qos(row) == Qos::ExactlyOnce {
                self.note_identifier(records, row);
            }
            if !self.index.is_empty() {
                self.give(records, row);
            }
        }
        self.flush(frame);
    }

    /// Gives a message to everyone who subscribed.
    fn give(&mut self, records: &Records, row: usize) {
        let takers = self.index.takers(records.topic.value(row));
        let published = records.qos(row);
        let place = || Place::Log(Offset(records.offset.value(row)));
        let size = records.topic.value_length(row) as usize + records.payload.value_length(row) as usize;
        for Taker { session, manner, own } in &takers.sessions {
            let Some(state) = self.sessions.slots.get_mut(*session) else { continue };
            let manner = match own {
                Some(own) if state.is_publisher(records, row) => own.as_ref(),
                _ => Some(manner),
            };
            let Some(manner) = manner else { continue };
            if state.rows.is_empty() {
                self.touched.push(Destination::Session(*session));
            }
            let retain = manner.retain_as_published && records.retain.value(row);
            state.give(place(), size, published.min(manner.qos), retain, manner.identifiers.clone());
        }
        for shared in &takers.shared {
            self.give_shared(*shared, place(), records, row, size);
        }
    }

    /// Hands the rows of the frame to inboxes.
    fn flush(&mut self, frame: &Arc<Frame>) {
        for destination in std::mem::take(&mut self.touched) {
            match destination {
                Destination::Session(place) => self.flush_session(place, frame),
                Destination::Shared(place) => self.flush_shared(place, frame),
            }
        }
    }

    fn flush_session(&mut self, place: usize, frame: &Arc<Frame>) {
        if let Some(state) = self.sessions.slots.get_mut(place)
            && !state.rows.is_empty()
        {
            state.inbox.push(frame, &mut state.rows, self.moment);
            // The vector stays for the next frame, but not what an unusual one made of it.
            state.rows.shrink_to(64);
        }
    }
}

//! A peer that has proved which device it is: what it asks goes to the broker, what is published for it comes from its
//! session.
//!
//! The session is the device's one session, opened by its first request, as clean as they come: it ends with the peer, or
//! when the device is silent. So a device that comes by CoAP takes over from its own connection of another protocol, and
//! is online for as long as it is heard.

pub(crate) mod link;
mod notifications;
mod requests;

pub(crate) use requests::prove;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sha2::{Digest, Sha256};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, CloseReason, End, Session, SessionEvent};
use weir_core::{DeviceId, ErrorKind, Offset, Principal, seams::PeerIdentity};

use self::{
    link::Link,
    notifications::{Held, Outgoing},
};
use crate::{
    admission::Place,
    codes,
    endpoint::{Endpoint, Event, ExchangeId, Response},
    listener::CoapOptions,
    request::Shown,
};

/// How long a peer that ends may wait for its last answers.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// A peer, as its task holds it.
pub(crate) struct Peer {
    broker: Broker,
    options: Arc<CoapOptions>,
    link: Link,
    device: DeviceId,
    principal: Principal,
    /// What the transport proved.
    identity: PeerIdentity,
    /// The token that was good last, if the transport proves nothing.
    proof: Option<Proof>,
    endpoint: Endpoint,
    session: Option<Box<Session>>,
    /// Answers that wait for the log.
    waiting: VecDeque<Waiting>,
    /// Answers that wait for the shadows.
    work: FuturesUnordered<BoxFuture<'static, (ExchangeId, Response)>>,
    held: Vec<Held>,
    next_identifier: u32,
    outgoing: Option<Outgoing>,
    /// What the vendor's SDK was given to show.
    vendor_token: Option<String>,
    heard: Instant,
    /// It was silent, and is asked whether it is there.
    asked: bool,
    _place: Place,
}

struct Waiting {
    offset: Offset,
    exchange: ExchangeId,
    response: Response,
}

/// A token, without the token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    device: DeviceId,
    hash: [u8; 32],
}

impl Proof {
    pub(crate) fn of(shown: &Shown) -> Self {
        Self { device: shown.device.clone(), hash: Sha256::digest(shown.token.as_bytes()).into() }
    }
}

/// Why a peer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It was silent for too long.
    Idle,
    /// It did not answer.
    Gone,
    /// The device's session was ended.
    Closed(CloseReason),
    Draining,
    LogFailed,
    /// The transport was closed.
    Parted,
}

/// What a peer waits for.
enum Step {
    Datagram(Vec<u8>),
    Session(SessionEvent),
    Durable(bool),
    Done(ExchangeId, Response),
    Timer,
    Stop,
    Replaced,
}

/// Who a peer is.
pub(crate) struct Known {
    pub(crate) principal: Principal,
    pub(crate) device: DeviceId,
    pub(crate) identity: PeerIdentity,
    pub(crate) proof: Option<Proof>,
}

impl Peer {
    pub(crate) fn new(broker: Broker, options: Arc<CoapOptions>, link: Link, known: Known, place: Place) -> Self {
        let mut seed = [0; 8];
        // Without random numbers, which the system always has, identifiers begin alike.
        let _random = getrandom::fill(&mut seed);
        let Known { principal, device, identity, proof } = known;
        Self {
            endpoint: Endpoint::new(options.endpoint.clone(), u64::from_le_bytes(seed)),
            broker,
            options,
            link,
            device,
            principal,
            identity,
            proof,
            session: None,
            waiting: VecDeque::new(),
            work: FuturesUnordered::new(),
            held: Vec::new(),
            next_identifier: 1,
            outgoing: None,
            vendor_token: None,
            heard: Instant::now(),
            asked: false,
            _place: place,
        }
    }

    /// Serves the peer until it ends. When `stop` is cancelled, what was asked is still answered.
    /// `first` is what came before it was known who the peer is.
    pub(crate) async fn run(
        mut self,
        mut datagrams: mpsc::Receiver<Vec<u8>>,
        first: Vec<Vec<u8>>,
        stop: CancellationToken,
    ) {
        let ending = match self.take(first).await {
            Ok(()) => self.exchange(&mut datagrams, &stop).await,
            Err(ending) => ending,
        };
        tracing::debug!(device = %self.device, ?ending, "a peer of coap ended");
        if let Ending::Closed(reason) = ending {
            let kind = match reason {
                CloseReason::Disabled | CloseReason::TakenOver => ErrorKind::Unauthenticated,
                CloseReason::Draining | CloseReason::Ended => ErrorKind::Unavailable,
            };
            self.end_observations(&Response::refusal(codes::of_kind(kind), "the session was ended"));
        }
        self.flush().await;
        self.link.close().await;
        if let Some(session) = self.session.take() {
            Box::pin(session.close(end_of(ending))).await;
        }
    }

    async fn exchange(&mut self, datagrams: &mut mpsc::Receiver<Vec<u8>>, stop: &CancellationToken) -> Ending {
        let broker = self.broker.clone();
        let durable = broker.log().durable();
        let mut closing: Option<Instant> = None;
        loop {
            self.answer_durable(durable.get());
            self.notify();
            self.flush().await;
            if self.link.is_closed() {
                return Ending::Parted;
            }
            let now = Instant::now();
            if let Some(until) = closing
                && (self.waiting.is_empty() && self.work.is_empty() || now >= until)
            {
                return Ending::Draining;
            }
            let due = closing.unwrap_or_else(|| self.due(now));
            let waits_for = self.waiting.front().map(|waiting| waiting.offset);
            let ready = self.outgoing.is_none() && self.endpoint.may_notify();
            let step = tokio::select! {
                biased;
                () = stop.cancelled(), if closing.is_none() => Step::Stop,
                event = next(&mut self.session, ready), if closing.is_none() => Step::Session(event),
                waited = async { durable.wait_for(waits_for.unwrap_or_default()).await }, if waits_for.is_some() => {
                    Step::Durable(waited.is_ok())
                }
                Some((exchange, response)) = self.work.next(), if !self.work.is_empty() => Step::Done(exchange, response),
                datagram = datagrams.recv(), if closing.is_none() => datagram.map_or(Step::Replaced, Step::Datagram),
                () = sleep_until(due) => Step::Timer,
            };
            match step {
                Step::Datagram(datagram) => {
                    // Boxed, as what follows from a datagram needs room that a silent peer must not hold.
                    if let Err(ending) = Box::pin(self.receive(datagram)).await {
                        return ending;
                    }
                }
                Step::Session(SessionEvent::Deliver(outbound)) => self.outgoing = Some(Outgoing::new(outbound)),
                // At most QoS 1 is asked for, so there is nothing to release.
                Step::Session(SessionEvent::Release(_)) => {}
                Step::Session(SessionEvent::Close(CloseReason::Draining)) => closing = Some(now + CLOSE_PATIENCE),
                Step::Session(SessionEvent::Close(reason)) => return Ending::Closed(reason),
                Step::Durable(true) => {}
                Step::Durable(false) => return Ending::LogFailed,
                Step::Done(exchange, response) => self.endpoint.respond(exchange, response, now.into_std()),
                Step::Timer => {
                    if let Err(ending) = Box::pin(self.elapsed()).await {
                        return ending;
                    }
                }
                Step::Stop => closing = Some(now + CLOSE_PATIENCE),
                Step::Replaced => return Ending::Parted,
            }
        }
    }

    async fn receive(&mut self, datagram: Vec<u8>) -> Result<(), Ending> {
        let contents = self.link.open(datagram);
        self.take(contents).await
    }

    async fn take(&mut self, contents: Vec<Vec<u8>>) -> Result<(), Ending> {
        let mut events = Vec::new();
        for plain in contents {
            let now = Instant::now();
            self.heard = now;
            self.asked = false;
            if self.endpoint.receive(&plain, now.into_std(), &mut events).is_err() {
                self.broker.metrics().refused_for("coap", "malformed");
            }
        }
        self.act(events).await
    }

    async fn elapsed(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        let mut events = Vec::new();
        self.link.elapsed();
        self.endpoint.elapsed(now.into_std(), &mut events);
        self.act(events).await?;
        let silent = now.saturating_duration_since(self.heard);
        if silent >= self.options.idle {
            if self.endpoint.is_observing() {
                if !self.asked {
                    self.asked = true;
                    self.endpoint.ping(now.into_std());
                }
            } else if !self.link.outlives_silence(silent) {
                return Err(Ending::Idle);
            } else if let Some(session) = self.session.take() {
                Box::pin(session.close(end_of(Ending::Idle))).await;
            }
        }
        Ok(())
    }

    /// When to look at the time again.
    fn due(&self, now: Instant) -> Instant {
        let silence = match (self.asked, self.session.is_some() || !self.link.is_encrypted()) {
            (true, _) => now + self.options.idle,
            (false, true) => self.heard + self.options.idle,
            (false, false) => self.heard + self.options.session_idle,
        };
        let endpoint = self.endpoint.deadline().map(Instant::from_std);
        [endpoint, self.link.deadline()].into_iter().flatten().fold(silence, Instant::min)
    }

    /// What the state machine has to say.
    async fn act(&mut self, events: Vec<Event>) -> Result<(), Ending> {
        for event in events {
            match event {
                Event::Request { exchange, message } => self.request(exchange, message).await?,
                Event::Cancelled(observation) => self.cancelled(observation).await,
                // What goes next is looked at in any case.
                Event::Delivered => {}
                Event::Alive => {
                    self.heard = Instant::now();
                    self.asked = false;
                }
                Event::Gone => return Err(Ending::Gone),
            }
        }
        Ok(())
    }

    /// Answers what is durable by now.
    fn answer_durable(&mut self, durable: Offset) {
        let now = std::time::Instant::now();
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.offset < durable) {
            self.endpoint.respond(waiting.exchange, waiting.response, now);
        }
    }

    async fn flush(&mut self) {
        while let Some(datagram) = self.endpoint.transmit() {
            self.link.send(&datagram).await;
        }
        self.link.flush().await;
    }
}

fn end_of(ending: Ending) -> End {
    match ending {
        Ending::Idle | Ending::Parted => End::Disconnected { with_will: false, expiry: None },
        Ending::Gone => End::KeepAlive,
        Ending::Closed(_) | Ending::Draining | Ending::LogFailed => End::Refused,
    }
}

/// What comes next of the session, if there is one; nothing but its end while the client has not taken what came before.
async fn next(session: &mut Option<Box<Session>>, ready: bool) -> SessionEvent {
    match session {
        None => std::future::pending().await,
        Some(session) if ready => session.next().await,
        Some(session) => SessionEvent::Close(session.ended().await),
    }
}

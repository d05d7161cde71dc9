//! The life of a connected client: what it publishes goes to the log, what is published for it comes from its session.
//!
//! Nothing here grows with a slow peer. While the log is busy, too many PUBACKs wait, or the peer leaves replies
//! unread, its packets stay in its socket; while it leaves messages unread, the next ones stay in its inbox.

use std::{convert::Infallible, pin::pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, Outbound, PublishError, Session, SessionEvent};
use weir_core::{Envelope, Offset, Protocol, Qos};

use super::{
    End, WILL_PATIENCE, buffers,
    wire::{Turn, Wire},
};
use crate::{
    codec::{Connect, Publish, Subscribe, Unsubscribe, Will},
    connection::{Connection, Request, Sent},
};

/// PUBACKs that may wait for the log before the client is read again.
const MAX_WAITING: usize = 4_096;
/// How long a connection that ends may wait for its last PUBACKs.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client is kept waiting that came while the log is full, so that it does not come again at once.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// For timers that wait for nothing.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    broker: Broker,
    pub(super) session: Session,
    connection: Connection,
    protocol: Protocol,
    client_id: Box<str>,
    publisher: Box<str>,
    will: Option<Will>,
    /// Messages in the writing, and how many of them are written.
    outgoing: Option<(Outbound, usize)>,
    /// The log has no room now: what was read waits.
    busy: bool,
    /// The client publishes too fast: what was read waits, until then.
    paced: Option<Instant>,
    closing: Option<Closing>,
}

/// The connection ends when the PUBACKs that wait are sent, but not before and not after these times.
#[derive(Debug)]
struct Closing {
    end: End,
    not_before: Instant,
    not_after: Instant,
}

/// What a client waits for.
enum Step {
    Turn(Turn),
    Session(SessionEvent),
    /// PUBACKs may go, or the log has room.
    Log,
    Timer,
    Stop,
}

impl Client {
    pub(super) fn new(broker: Broker, session: Session, connection: Connection, connect: Connect) -> Self {
        Self {
            protocol: connect.protocol,
            client_id: session.client_id().into(),
            publisher: session.publisher().into(),
            will: connect.will,
            broker,
            session,
            connection,
            outgoing: None,
            busy: false,
            paced: None,
            closing: None,
        }
    }

    /// Serves the client until its connection must be closed.
    pub(super) async fn serve<S>(&mut self, wire: &mut Wire<S>, stop: &CancellationToken) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.exchange(wire, stop).await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn exchange<S>(&mut self, wire: &mut Wire<S>, stop: &CancellationToken) -> Result<Infallible, End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let broker = self.broker.clone();
        let log = broker.log();
        let durable = log.durable();
        let mut timer = pin!(sleep_until(Instant::now()));
        let mut stopped = pin!(stop.cancelled());
        // What came together with CONNECT.
        self.receive(wire, Vec::new()).await?;
        loop {
            if self.connection.waiting() > 0 {
                self.connection.durable(durable.get(), wire.out());
            }
            self.write_messages(wire);
            let now = Instant::now();
            let reading = self.may_read(wire);
            let due = self.check_time(wire, now, reading)?;
            if due < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }

            let waiting_for = self.connection.waiting_for();
            let step = tokio::select! {
                turn = wire.turn(reading) => Step::Turn(turn?),
                event = self.session.next(), if self.outgoing.is_none() && self.closing.is_none() && wire.idle() => {
                    Step::Session(event)
                }
                waited = durable.wait_for(waiting_for.unwrap_or_default()), if waiting_for.is_some() => {
                    waited.map_err(|_| PublishError::Failed)?;
                    Step::Log
                }
                () = log.ready(), if self.busy => Step::Log,
                () = timer.as_mut() => Step::Timer,
                () = stopped.as_mut(), if self.closing.is_none() => Step::Stop,
            };
            match step {
                Step::Turn(Turn::Received(chunk)) => self.receive(wire, chunk).await?,
                Step::Turn(Turn::Closed) => return Err(End::Closed),
                Step::Session(SessionEvent::Deliver(outbound)) => self.outgoing = Some((outbound, 0)),
                Step::Session(SessionEvent::Close(reason)) => match reason.into() {
                    End::Draining => self.close(End::Draining, Duration::ZERO),
                    end => return Err(end),
                },
                Step::Log if self.busy => {
                    self.busy = false;
                    self.receive(wire, Vec::new()).await?;
                }
                Step::Timer if self.paced.is_some_and(|until| until <= Instant::now()) => {
                    self.paced = None;
                    self.receive(wire, Vec::new()).await?;
                }
                Step::Stop => self.close(End::Draining, Duration::ZERO),
                Step::Log | Step::Timer | Step::Turn(Turn::Sent) => {}
            }
        }
    }

    fn may_read<S: AsyncRead + AsyncWrite + Unpin>(&self, wire: &Wire<S>) -> bool {
        self.closing.is_none()
            && !self.busy
            && self.paced.is_none()
            && self.connection.waiting() < MAX_WAITING
            && wire.unsent() < buffers::CHUNK
    }

    /// Ends what is over; otherwise says when to look again.
    fn check_time<S>(&mut self, wire: &mut Wire<S>, now: Instant, reading: bool) -> Result<Instant, End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut due = now + LONG;
        if reading {
            self.connection.check(now.into_std())?;
            due = self.connection.deadline().map_or(due, |deadline| due.min(deadline.into()));
        } else {
            self.connection.not_listening(now.into_std());
        }
        if let Some(until) = self.paced {
            due = due.min(until);
        }
        if let Some(stalled) = wire.stalled_since(now) {
            let stall = stalled + self.broker.limits().write_stall;
            if now >= stall {
                return Err(End::Stalled);
            }
            due = due.min(stall);
        }
        if let Some(closing) = self.closing.take() {
            let done = self.connection.waiting() == 0 && wire.idle();
            if now >= closing.not_after || (done && now >= closing.not_before) {
                return Err(closing.end);
            }
            due = due.min(if done { closing.not_before } else { closing.not_after });
            self.closing = Some(closing);
        }
        Ok(due)
    }

    /// Stops reading; what is accepted is still acknowledged.
    fn close(&mut self, end: End, pause: Duration) {
        let now = Instant::now();
        // What the log had no room for is not offered again.
        self.busy = false;
        self.paced = None;
        self.closing = Some(Closing { end, not_before: now + pause, not_after: now + CLOSE_PATIENCE });
    }

    /// Acts on the packets that `chunk` completes. Stops where the log is busy and goes on from there when it is not.
    async fn receive<S>(&mut self, wire: &mut Wire<S>, chunk: Vec<u8>) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let now = Instant::now().into_std();
        let bytes = wire.join(chunk);
        let mut used = 0;
        let mut batch = usize::MAX;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let received = self.connection.receive(rest, batch, now, wire.out())?;
            if received.consumed == 0 {
                break;
            }
            if received.acknowledged > 0 {
                self.session.acknowledged(received.acknowledged);
            }
            match self.publish(&received.publishes) {
                Ok(Some(offset)) => self.connection.published(&received.publishes, offset),
                Ok(None) => {}
                Err(PublishError::Busy) => {
                    self.busy = true;
                    break;
                }
                Err(PublishError::Paced { until }) if received.publishes.len() == 1 => {
                    self.paced = Some(until);
                    break;
                }
                // One of them is refused: those before it are not.
                Err(_) if received.publishes.len() > 1 => {
                    batch = 1;
                    continue;
                }
                // 3.1.1 has no reason code for it: no PUBACK, no more reading, then close.
                Err(PublishError::Full) => {
                    self.close(PublishError::Full.into(), FULL_PAUSE);
                    break;
                }
                // [MQTT-3.3.5-2]
                Err(error) => return Err(error.into()),
            }
            used += received.consumed;
            match received.request {
                None | Some(Request::Connect(_)) => {}
                Some(Request::Subscribe(subscribe)) => self.subscribe(wire, subscribe).await,
                Some(Request::Unsubscribe(unsubscribe)) => self.unsubscribe(wire, unsubscribe).await,
                Some(Request::Disconnect) => return Err(End::Disconnected),
            }
        }
        wire.keep(bytes, used);
        Ok(())
    }

    /// Publishes a batch; `None` if there is nothing in it.
    fn publish(&mut self, publishes: &[Publish<'_>]) -> Result<Option<Offset>, PublishError> {
        if publishes.is_empty() {
            return Ok(None);
        }
        let envelopes: Vec<Envelope<'_>> = publishes
            .iter()
            .map(|publish| Envelope {
                session: Some(&self.client_id),
                packet_id: publish.packet_id,
                retain: publish.retain,
                ..Envelope::new(publish.topic, &self.publisher, self.protocol, publish.qos, publish.payload)
            })
            .collect();
        self.session.publish(&envelopes).map(Some)
    }

    async fn subscribe<S>(&mut self, wire: &mut Wire<S>, subscribe: Subscribe)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut granted = Vec::with_capacity(subscribe.filters.len());
        for asked in &subscribe.filters {
            granted.push(self.session.subscribe(asked.filter.filter(), asked.qos).await.ok());
        }
        self.connection.subscribed(subscribe.packet_id, &granted, wire.out());
    }

    async fn unsubscribe<S>(&mut self, wire: &mut Wire<S>, unsubscribe: Unsubscribe)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for filter in &unsubscribe.filters {
            self.session.unsubscribe(filter.filter()).await;
        }
        self.connection.unsubscribed(unsubscribe.packet_id, wire.out());
    }

    /// Writes messages, once those before are sent, up to about a chunk.
    fn write_messages<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<S>) {
        let Some((outbound, written)) = &mut self.outgoing else { return };
        if wire.unsent() > 0 {
            return;
        }
        let records = &outbound.frame.records;
        while let Some(row) = outbound.rows.get(*written) {
            // A row of a frame is an index into arrays that are in memory.
            let index = row.row as usize;
            let (topic, payload) = (records.topic.value(index), records.payload.value(index));
            match self.connection.send(topic, payload, row.qos, wire.out()) {
                Sent::Written => {}
                Sent::NoIdentifier => return,
                Sent::Unwritable => {
                    self.broker.metrics().refused_for("mqtt_deliver", "too_large");
                    self.session.acknowledged(usize::from(row.qos > Qos::AtMostOnce));
                }
            }
            *written += 1;
            if wire.unsent() >= buffers::CHUNK {
                return;
            }
        }
        self.outgoing = None;
    }

    /// Publishes the will, if there is one, with the client's own authority.
    pub(super) async fn publish_will(&mut self) {
        let Some(will) = self.will.take() else { return };
        let envelope = Envelope {
            session: Some(&self.client_id),
            retain: will.retain,
            ..Envelope::new(will.topic.as_str(), &self.publisher, self.protocol, will.qos, &will.payload)
        };
        let publish = async {
            while let Err(PublishError::Busy) = self.session.publish_will(envelope) {
                self.broker.log().ready().await;
            }
        };
        // A refusal is counted by the broker.
        if timeout(WILL_PATIENCE, publish).await.is_err() {
            self.broker.metrics().refused_for("publish", "will_timeout");
        }
    }
}

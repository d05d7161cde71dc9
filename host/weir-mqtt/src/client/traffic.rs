//! The life of a connected client: what it publishes goes to the log, what is published for it comes from its session.
//!
//! Nothing here grows with a slow peer. While the log is busy, too many PUBACKs wait, or the peer leaves replies
//! unread, its packets stay in its socket; while it leaves messages unread, the next ones stay in its inbox.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, PublishError, Session, SessionEvent};
use weir_core::Protocol;

use super::{
    buffers,
    end::End,
    outgoing::Writing,
    requests::Done,
    wire::{Turn, Wire},
};
use crate::{codes::Reason, connection::Connection};

/// Answers that may wait for the log before the client is read again.
const MAX_WAITING: usize = 4_096;
/// How long a connection that ends may wait for its last answers.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client is kept waiting that came while the log is full, so that it does not come again at once.
pub(super) const FULL_PAUSE: Duration = Duration::from_secs(1);
/// For timers that wait for nothing.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) broker: Broker,
    pub(super) session: Session,
    pub(super) connection: Connection,
    pub(super) protocol: Protocol,
    pub(super) client_id: Arc<str>,
    pub(super) publisher: Arc<str>,
    outgoing: Option<Writing>,
    /// The log has no room now: what was read waits.
    busy: bool,
    /// The client publishes too fast: what was read waits, until then.
    paced: Option<Instant>,
    closing: Option<Closing>,
}

/// The connection ends when the answers that wait are sent, but not before and not after these times.
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
    /// Answers may go, or the log has room.
    Log,
    Timer,
    Stop,
}

impl Client {
    pub(super) fn new(broker: Broker, session: Session, connection: Connection, protocol: Protocol) -> Self {
        Self {
            protocol,
            client_id: Arc::clone(session.client_id()),
            publisher: Arc::clone(session.publisher()),
            broker,
            session,
            connection,
            outgoing: None,
            busy: false,
            paced: None,
            closing: None,
        }
    }

    /// Says why the hub closes the connection, to a client that can be told.
    pub(super) fn farewell<S>(&mut self, reason: Reason, end: &End, wire: &mut Wire<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.connection.farewell(reason, &end.to_string(), wire.out());
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

            let ready = self.outgoing.is_none() && wire.idle();
            let waiting_for = self.connection.waiting_for();
            // Boxed, because it is made only when polled, and a connection with nothing to acknowledge must not hold room.
            let acknowledgeable = async { Box::pin(durable.wait_for(waiting_for.unwrap_or_default())).await };
            let step = tokio::select! {
                turn = wire.turn(reading) => Step::Turn(turn?),
                event = next(&mut self.session, ready), if self.closing.is_none() => Step::Session(event),
                waited = acknowledgeable, if waiting_for.is_some() => {
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
                Step::Session(SessionEvent::Deliver(outbound)) => self.outgoing = Some(Writing::new(outbound)),
                Step::Session(SessionEvent::Release(packet_ids)) => self.connection.release_again(&packet_ids),
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
    pub(super) fn close(&mut self, end: End, pause: Duration) {
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
            let consumed = received.consumed;
            if consumed == 0 {
                break;
            }
            match self.act(received)? {
                Done::All => used += consumed,
                Done::Subscribe(subscribe) => {
                    used += consumed;
                    Box::pin(self.subscribe(wire, subscribe)).await?;
                }
                Done::Unsubscribe(unsubscribe) => {
                    used += consumed;
                    Box::pin(self.unsubscribe(wire, unsubscribe)).await?;
                }
                Done::OneByOne => batch = 1,
                Done::Busy => {
                    self.busy = true;
                    break;
                }
                Done::Paced(until) => {
                    self.paced = Some(until);
                    break;
                }
                Done::Closing => break,
            }
        }
        wire.keep(bytes, used);
        Ok(())
    }

    /// Writes messages, once those before are sent.
    fn write_messages<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<S>) {
        let Some(writing) = &mut self.outgoing else { return };
        if wire.unsent() == 0 && writing.write(&mut self.connection, &mut self.session, wire.out()) {
            self.outgoing = None;
        }
    }
}

/// What comes next of the session; nothing but its end while the client leaves unread what it was sent.
async fn next(session: &mut Session, ready: bool) -> SessionEvent {
    if ready { session.next().await } else { SessionEvent::Close(session.ended().await) }
}

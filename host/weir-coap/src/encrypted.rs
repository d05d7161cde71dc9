//! CoAP over DTLS: a socket for all peers, of which strangers are answered by cookies and nothing is kept.
//!
//! A known peer that begins a handshake anew, because it was started again or its address was another's before, is a stranger
//! until it has brought its cookie back (RFC 6347 §4.2.8): only then does its new session take the place of the old one.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, Drain};
use weir_core::seams::{Credentials, PeerIdentity};
use weir_tls::{
    AcceptError,
    dtls::{Doorstep, DtlsAcceptor, DtlsSession, Knock, hello_random},
};

use crate::{
    admission::Place,
    codec::MAX_DATAGRAM,
    listener::{CoapOptions, PAUSE, SWEEP, Shared, WAITING},
    peer::{Known, Peer, link::Link},
};

/// Bytes that DTLS adds to a datagram, at most.
const OVERHEAD: usize = 256;

/// Serves CoAP over DTLS until `drain` tells it to end.
pub async fn serve_dtls(socket: UdpSocket, acceptor: DtlsAcceptor, shared: Shared, broker: Broker, drain: Drain) {
    let mut listener = Listener {
        socket: Arc::new(socket),
        doorstep: Doorstep::new(acceptor),
        shared,
        broker,
        drain: drain.clone(),
        peers: HashMap::new(),
    };
    let mut buffer = vec![0; MAX_DATAGRAM + OVERHEAD];
    let mut sweep = interval_at(Instant::now() + SWEEP, SWEEP);
    loop {
        let received = tokio::select! {
            biased;
            () = drain.token().cancelled() => return,
            received = listener.socket.recv_from(&mut buffer) => received,
            _ = sweep.tick() => {
                listener.peers.retain(|_, peer| !peer.datagrams.is_closed());
                continue;
            }
        };
        match received {
            Ok((length, from)) => {
                if let Some(datagram) = buffer.get(..length) {
                    listener.receive(datagram, from).await;
                }
            }
            // A datagram of ours found nobody.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                tracing::warn!(%error, "nothing can be received for coap over dtls");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

struct Listener {
    socket: Arc<UdpSocket>,
    doorstep: Doorstep,
    shared: Shared,
    broker: Broker,
    drain: Drain,
    peers: HashMap<SocketAddr, Entry>,
}

/// A peer that has brought its cookie.
struct Entry {
    datagrams: mpsc::Sender<Vec<u8>>,
    /// Of the handshake that it began with: a ClientHello with another begins a new one.
    random: [u8; 32],
}

impl Listener {
    async fn receive(&mut self, datagram: &[u8], from: SocketAddr) {
        let hello = hello_random(datagram);
        if let Some(peer) = self.peers.get(&from)
            && hello.is_none_or(|random| random == peer.random)
        {
            match peer.datagrams.try_send(datagram.to_vec()) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return self.broker.metrics().refused_for("coap_dtls", "peer_busy");
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    self.peers.remove(&from);
                }
            }
        }
        let Some(random) = hello else {
            // Of a session that is gone, perhaps: the device finds out by its own time.
            return self.broker.metrics().refused_for("coap_dtls", "unexpected");
        };
        if !self.shared.admission.hears(from.ip()) {
            return;
        }
        match self.doorstep.knock(datagram, from) {
            Ok(Knock::Answer(answer)) => {
                if let Err(error) = self.socket.send_to(&answer, from).await {
                    tracing::debug!(%error, "a datagram could not be sent");
                }
            }
            Ok(Knock::Session(session)) => {
                // The one before lets go first: its place is free then.
                self.peers.remove(&from);
                let Some(place) = self.shared.admission.admit(from.ip()) else { return };
                let (datagrams, received) = mpsc::channel(WAITING);
                self.peers.insert(from, Entry { datagrams, random });
                let begun = Begun {
                    socket: Arc::clone(&self.socket),
                    from,
                    options: Arc::clone(&self.shared.options),
                    broker: self.broker.clone(),
                    place,
                };
                let stop = self.drain.token().clone();
                self.drain.spawn("coap over dtls peer", Box::pin(begun.run(session, received, stop)));
            }
            Ok(Knock::Nothing) => self.broker.metrics().refused_for("coap_dtls", "malformed"),
            Err(error) => {
                tracing::error!(%error, "dtls cannot be served");
                self.broker.metrics().refused_for("coap_dtls", "internal");
            }
        }
    }
}

/// What serves a peer, besides its session.
struct Begun {
    socket: Arc<UdpSocket>,
    from: SocketAddr,
    options: Arc<CoapOptions>,
    broker: Broker,
    place: Place,
}

impl Begun {
    async fn run(self, session: Box<DtlsSession>, mut received: mpsc::Receiver<Vec<u8>>, stop: CancellationToken) {
        // Boxed, because a peer that stays for long would keep the room that its handshake needs.
        let shaken = Box::pin(self.handshake(session, &mut received, &stop)).await;
        let Some((session, first)) = shaken else { return };
        let Self { socket, from, options, broker, place } = self;
        let identity = session.peer().cloned().map(weir_tls::Peer::identity).unwrap_or_default();
        let Some(known) = known(&broker, identity) else { return part(&socket, from, session).await };
        let link = Link::encrypted(socket, from, session, options.session_idle);
        Box::pin(Peer::new(broker, options, link, known, place).run(received, first, stop)).await;
    }

    /// The handshake; and what came with its last message.
    async fn handshake(
        &self,
        mut session: Box<DtlsSession>,
        received: &mut mpsc::Receiver<Vec<u8>>,
        stop: &CancellationToken,
    ) -> Option<(Box<DtlsSession>, Vec<Vec<u8>>)> {
        let limit = Instant::now() + self.broker.limits().handshake;
        let mut contents = Vec::new();
        loop {
            flush(&self.socket, self.from, &mut session).await;
            if session.peer().is_some() {
                return Some((session, contents));
            }
            if let Some(error) = session.failure() {
                refused(&self.broker, &error, self.from.ip());
                return None;
            }
            let due = session.deadline().map_or(limit, |due| limit.min(Instant::from_std(due)));
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                datagram = received.recv() => contents.extend(session.receive(datagram?)),
                () = sleep_until(due) => {
                    if Instant::now() >= limit {
                        let error = session.give_up();
                        refused(&self.broker, &error, self.from.ip());
                        return None;
                    }
                    session.elapsed(std::time::Instant::now());
                }
            }
        }
    }
}

/// Who the handshake proved, if that is a device that may connect.
fn known(broker: &Broker, identity: PeerIdentity) -> Option<Known> {
    let device = identity.device()?.clone();
    let credentials = Credentials { client_id: device.joined(), peer: identity.clone(), ..Credentials::default() };
    let principal = broker.authenticate(&credentials).ok()?;
    Some(Known { principal, device, identity, proof: None })
}

fn refused(broker: &Broker, error: &AcceptError, from: IpAddr) {
    broker.metrics().refused_for("coap_dtls", error.reason());
    // Each has cost a cookie and a place, so there are no more of these lines than those allow.
    tracing::info!(%error, %from, "a handshake of dtls was refused");
}

async fn flush(socket: &UdpSocket, to: SocketAddr, session: &mut DtlsSession) {
    while let Some(datagram) = session.transmit() {
        if let Err(error) = socket.send_to(&datagram, to).await {
            tracing::debug!(%error, "a datagram could not be sent");
        }
    }
}

/// A certificate that names no device, and a device that may not connect.
async fn part(socket: &UdpSocket, to: SocketAddr, mut session: Box<DtlsSession>) {
    session.close();
    flush(socket, to, &mut session).await;
}

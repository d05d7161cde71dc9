//! A socket for all peers: each datagram goes to the task of the peer that it is of, or is judged by itself.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, interval_at},
};
use weir_broker::{Broker, Drain};
use weir_core::seams::PeerIdentity;

use crate::{
    admission::{Admission, PeerLimits},
    codec::MAX_DATAGRAM,
    endpoint::EndpointLimits,
    peer::{Known, Peer, Proof, link::Link, prove},
    stranger::{self, Verdict},
};

/// Datagrams of one peer that may wait for its task. Beyond it they are lost, as datagrams may be.
pub(crate) const WAITING: usize = 32;

/// How often peers that have ended are forgotten.
pub(crate) const SWEEP: Duration = Duration::from_secs(30);

/// How long to wait when nothing can be received.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct CoapOptions {
    pub endpoint: EndpointLimits,
    pub peers: PeerLimits,
    /// Silence after which a device counts as offline; one that observes is asked first.
    pub idle: Duration,
    /// Silence after which a session of DTLS is forgotten.
    pub session_idle: Duration,
}

impl Default for CoapOptions {
    fn default() -> Self {
        Self {
            endpoint: EndpointLimits::default(),
            peers: PeerLimits::default(),
            idle: Duration::from_secs(300),
            session_idle: Duration::from_secs(24 * 3_600),
        }
    }
}

/// What the listeners of the hub share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) options: Arc<CoapOptions>,
    pub(crate) admission: Admission,
}

impl Shared {
    pub fn new(options: CoapOptions, broker: &Broker) -> Self {
        let admission = Admission::new(options.peers.clone(), broker.metrics());
        Self { options: Arc::new(options), admission }
    }

    /// Peers that are there.
    pub fn open(&self) -> usize {
        self.admission.open()
    }
}

/// Serves CoAP over UDP until `drain` tells it to end.
pub async fn serve(socket: UdpSocket, shared: Shared, broker: Broker, drain: Drain) {
    let mut listener =
        Listener { socket: Arc::new(socket), shared, broker, drain: drain.clone(), peers: HashMap::new() };
    let mut buffer = vec![0; MAX_DATAGRAM + 1];
    let mut sweep = interval_at(Instant::now() + SWEEP, SWEEP);
    loop {
        let received = tokio::select! {
            biased;
            () = drain.token().cancelled() => return,
            received = listener.socket.recv_from(&mut buffer) => received,
            _ = sweep.tick() => {
                listener.peers.retain(|_, peer| !peer.is_closed());
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
                tracing::warn!(%error, "nothing can be received for coap");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

struct Listener {
    socket: Arc<UdpSocket>,
    shared: Shared,
    broker: Broker,
    drain: Drain,
    peers: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>,
}

impl Listener {
    async fn receive(&mut self, datagram: &[u8], from: SocketAddr) {
        if let Some(peer) = self.peers.get(&from) {
            match peer.try_send(datagram.to_vec()) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return self.broker.metrics().refused_for("coap", "peer_busy");
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    self.peers.remove(&from);
                }
            }
        }
        if !self.shared.admission.hears(from.ip()) {
            return;
        }
        match stranger::judge(datagram) {
            Verdict::Nothing(reason) => self.broker.metrics().refused_for("coap", reason),
            Verdict::Answer(answer, refused) => {
                if let Some(reason) = refused {
                    self.broker.metrics().refused_for("coap", reason);
                }
                self.send(&answer, from).await;
            }
            Verdict::Proof(shown, message) => match prove(&self.broker, &shown) {
                Ok(principal) => {
                    let Some(place) = self.shared.admission.admit(from.ip()) else { return };
                    let known = Known {
                        principal,
                        proof: Some(Proof::of(&shown)),
                        device: shown.device,
                        identity: PeerIdentity::None,
                    };
                    let link = Link::plain(Arc::clone(&self.socket), from);
                    let peer = Peer::new(self.broker.clone(), Arc::clone(&self.shared.options), link, known, place);
                    let (sender, datagrams) = mpsc::channel(WAITING);
                    // The channel is new and has room.
                    let _first = sender.try_send(datagram.to_vec());
                    self.peers.insert(from, sender);
                    self.drain
                        .spawn("coap peer", Box::pin(peer.run(datagrams, Vec::new(), self.drain.token().clone())));
                }
                Err(refusal) => self.send(&stranger::answer(&message, refusal), from).await,
            },
        }
    }

    async fn send(&self, datagram: &[u8], to: SocketAddr) {
        if let Err(error) = self.socket.send_to(datagram, to).await {
            tracing::debug!(%error, "a datagram could not be sent");
        }
    }
}

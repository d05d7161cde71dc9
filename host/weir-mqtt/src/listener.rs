//! Accepting connections, plain or encrypted. What arrives on one is [`client`]'s, which is the same for any kind of stream.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, Drain};
use weir_core::{DeviceId, seams::PeerIdentity};
use weir_tls::{Acceptor, Peer};

use crate::{
    admission::{Admission, Place},
    client,
    refusals::Refusals,
};

/// How long to wait when no connection can be accepted, as when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What connections of a listener begin with.
#[derive(Debug, Clone)]
pub enum Transport {
    /// MQTT at once.
    Plain,
    /// A handshake of TLS, by certificate or by pre-shared key.
    Tls(Acceptor),
}

/// Serves MQTT until `drain` tells it to end. The connections end by the same `drain`, in their own tasks:
/// they stop reading, send the PUBACKs that still wait for the log, and close.
///
/// Listeners that share `admission` share its limits.
pub async fn serve(listener: TcpListener, transport: Transport, admission: Admission, broker: Broker, drain: Drain) {
    let refusals = Refusals::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.token().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = admission.admit(peer.ip()) else { continue };
                match tune(&stream, broker.limits().keep_alive) {
                    Ok(()) => {
                        let (broker, stop) = (broker.clone(), drain.token().clone());
                        // Boxed, because every future that wraps one would otherwise hold it twice.
                        match transport.clone() {
                            Transport::Plain => {
                                let task = client::run(stream, PeerIdentity::None, broker, stop, place);
                                drain.spawn("mqtt connection", Box::pin(task));
                            }
                            Transport::Tls(acceptor) => {
                                let (address, refusals) = (peer.ip(), refusals.clone());
                                let task = encrypted(stream, address, acceptor, refusals, broker, stop, place);
                                drain.spawn("mqtt over tls connection", Box::pin(task));
                            }
                        }
                    }
                    Err(error) => tracing::debug!(%error, "a connection closed while it was accepted"),
                }
            }
            // The peer went away before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                broker.metrics().refused_for("mqtt_accept", "accept_failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The handshake, and then the same as without one.
async fn encrypted(
    stream: TcpStream,
    address: IpAddr,
    acceptor: Acceptor,
    refusals: Refusals,
    broker: Broker,
    stop: CancellationToken,
    place: Place,
) {
    let accepted = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        accepted = acceptor.accept(stream) => accepted,
    };
    match accepted {
        Ok((stream, peer)) => client::run(stream, identity(peer), broker, stop, place).await,
        Err(error) => {
            broker.metrics().refused_for("mqtt_tls", error.reason());
            refusals.tell(&error, address);
        }
    }
}

/// The device that the handshake proved. A certificate that names none, and a key of nobody, prove nothing here: the
/// client may still show a password.
fn identity(peer: Peer) -> PeerIdentity {
    let identity = match peer {
        Peer::Anonymous => None,
        Peer::Certificate(certificate) => {
            certificate.identity().map(|identity| PeerIdentity::Certificate(Arc::new(identity)))
        }
        Peer::Psk { identity } => DeviceId::from_joined(&identity).map(PeerIdentity::Psk),
    };
    identity.unwrap_or_default()
}

/// Acknowledgements are small and must not wait for more; probes find a peer that vanished although its keep-alive is
/// longer than the limit, or none.
fn tune(stream: &TcpStream, keep_alive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(keep_alive))
}

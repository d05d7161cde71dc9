//! Accepting connections: plain or encrypted, MQTT at once or by WebSocket. What arrives on one is [`client`]'s, which is
//! the same for any kind of stream.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, Drain};
use weir_core::seams::PeerIdentity;
use weir_tls::{Acceptor, TlsStream};

use crate::{
    admission::{Admission, Place},
    client,
    refusals::Refusals,
    websocket,
    websocket::WebSocketOptions,
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
    /// A request for a WebSocket.
    WebSocket(Arc<WebSocketOptions>),
    /// A handshake of TLS, and then a request for a WebSocket.
    SecureWebSocket(Acceptor, Arc<WebSocketOptions>),
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
                        let begun = Begun { broker: broker.clone(), stop: drain.token().clone(), place };
                        begin((stream, peer.ip()), transport.clone(), begun, &refusals, &drain);
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

/// What serves a connection, besides its stream.
struct Begun {
    broker: Broker,
    stop: CancellationToken,
    place: Place,
}

/// Serves a connection in a task of its own.
fn begin(
    (stream, address): (TcpStream, IpAddr),
    transport: Transport,
    begun: Begun,
    refusals: &Refusals,
    drain: &Drain,
) {
    // Each is boxed, because every future that wraps one would otherwise hold it twice; and by its own kind, because the
    // largest must not set the price for all.
    match transport {
        Transport::Plain => {
            drain.spawn("mqtt connection", Box::pin(begun.run(stream, PeerIdentity::None)));
        }
        Transport::Tls(acceptor) => {
            let refusals = refusals.clone();
            let task = async move {
                if let Some((stream, peer)) = begun.decrypt(stream, address, &acceptor, &refusals).await {
                    begun.run(stream, peer).await;
                }
            };
            drain.spawn("mqtt over tls connection", Box::pin(task));
        }
        Transport::WebSocket(options) => {
            drain
                .spawn("websocket connection", Box::pin(begun.upgrade((stream, address), PeerIdentity::None, options)));
        }
        Transport::SecureWebSocket(acceptor, options) => {
            let refusals = refusals.clone();
            let task = async move {
                if let Some((stream, peer)) = begun.decrypt(stream, address, &acceptor, &refusals).await {
                    begun.upgrade((stream, address), peer, options).await;
                }
            };
            drain.spawn("secure websocket connection", Box::pin(task));
        }
    }
}

impl Begun {
    fn run<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, peer: PeerIdentity) -> impl Future<Output = ()> {
        client::run(stream, peer, self.broker, self.stop, self.place)
    }

    /// The handshake of TLS, and whom it proved.
    async fn decrypt(
        &self,
        stream: TcpStream,
        address: IpAddr,
        acceptor: &Acceptor,
        refusals: &Refusals,
    ) -> Option<(TlsStream, PeerIdentity)> {
        let accepted = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            accepted = acceptor.accept(stream) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => Some((stream, peer.identity())),
            Err(error) => {
                self.broker.metrics().refused_for("mqtt_tls", error.reason());
                refusals.tell(&error, address);
                None
            }
        }
    }

    /// The request for a WebSocket, and then the same as without one.
    async fn upgrade<S>(self, (stream, address): (S, IpAddr), peer: PeerIdentity, options: Arc<WebSocketOptions>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Boxed, because the room that HTTP needs would be kept for as long as the connection lives.
        let opened =
            Box::pin(websocket::open((stream, address), &peer, &options, self.broker.metrics(), &self.stop)).await;
        if let Some(stream) = opened {
            self.run(stream, peer).await;
        }
    }
}

/// Acknowledgements are small and must not wait for more; probes find a peer that vanished although its keep-alive is
/// longer than the limit, or none.
fn tune(stream: &TcpStream, keep_alive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(keep_alive))
}

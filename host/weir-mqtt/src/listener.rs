//! Accepting connections. What arrives on one is [`client`]'s, which is the same for any kind of stream.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use weir_broker::{Broker, Drain};

use crate::{admission::Admission, client};

/// How long to wait when no connection can be accepted, as when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves MQTT over TCP until `drain` tells it to end. The connections end by the same `drain`, in their own tasks:
/// they stop reading, send the PUBACKs that still wait for the log, and close.
pub async fn serve(listener: TcpListener, broker: Broker, drain: Drain) {
    let admission = Admission::new(broker.limits(), broker.metrics());
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
                        // Boxed, because every future that wraps it would otherwise hold it twice.
                        let task = Box::pin(client::run(stream, broker.clone(), drain.token().clone(), place));
                        drain.spawn("mqtt connection", task);
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

/// Acknowledgements are small and must not wait for more; probes find a peer that vanished although its keep-alive is
/// longer than the limit, or none.
fn tune(stream: &TcpStream, keep_alive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(keep_alive))
}

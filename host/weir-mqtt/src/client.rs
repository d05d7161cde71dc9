//! One connected client: its socket, its state machine and its session, in one task.
//!
//! An idle client holds no buffer: chunks to read into and to write from are borrowed from the thread that runs it.

mod buffers;
mod end;
mod handshake;
mod outgoing;
mod requests;
mod traffic;
mod wire;

#[cfg(test)]
mod tests;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use weir_broker::Broker;
use weir_core::seams::PeerIdentity;

use crate::admission::Place;
use wire::Wire;

/// Serves one connection to its end. `peer` is what its transport has proved.
///
/// Not an `async fn`: that would hold room for what it is given and for what it moves that to.
pub(crate) fn run<S>(
    io: S,
    peer: PeerIdentity,
    broker: Broker,
    stop: CancellationToken,
    place: Place,
) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(io);
    async move {
        // Boxed, because what it needs is needed once, and a connection lives long.
        let opened = Box::pin(handshake::open(&mut wire, peer, &broker, &stop, &place)).await;
        let end = match opened {
            Ok(mut client) => {
                let end = client.serve(&mut wire, &stop).await;
                if let Some(reason) = end.seen_by_client() {
                    client.farewell(reason, &end, &mut wire);
                }
                Box::pin(client.session.close(end.seen_by_session())).await;
                end
            }
            Err(end) => end,
        };
        end.count(broker.metrics());
        if !end.is_gone() {
            wire.close().await;
        }
    }
}

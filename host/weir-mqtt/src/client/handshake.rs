//! From an open stream to a client with a session.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, Session, SessionOptions};
use weir_core::{
    Classify, ErrorKind,
    seams::{Credentials, PeerIdentity},
};

use super::{
    End,
    traffic::Client,
    wire::{Turn, Wire},
};
use crate::{
    ProtocolError,
    admission::Place,
    codec::Connect,
    codes,
    connection::{Bounds, Connection, Request},
};

/// Waits for CONNECT, proves who the client is, opens its session, and answers.
pub(super) async fn open<S>(
    wire: &mut Wire<S>,
    peer: PeerIdentity,
    broker: &Broker,
    stop: &CancellationToken,
    place: &Place,
) -> Result<Box<Client>, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = broker.limits();
    let bounds = Bounds { payload: limits.payload, filters: limits.filters_per_subscribe, handshake: limits.handshake };
    let mut connection = Connection::new(bounds, Instant::now().into_std());
    let connect = tokio::select! {
        connect = tokio::time::timeout(limits.handshake, read_connect(wire, &mut connection)) => {
            connect.map_err(|_| ProtocolError::HandshakeTimeout)??
        }
        () = stop.cancelled() => return Err(End::Draining),
    };
    match open_session(broker, peer, &connect, place) {
        Ok(session) => {
            // Sessions do not outlive connections, so none is ever present [MQTT-3.2.2-1].
            connection.accepted(false, Instant::now().into_std(), wire.out());
            Ok(Box::new(Client::new(broker.clone(), session, connection, *connect)))
        }
        Err(kind) => {
            connection.refused(codes::connack(kind), wire.out());
            Err(End::Refused)
        }
    }
}

async fn read_connect<S>(wire: &mut Wire<S>, connection: &mut Connection) -> Result<Box<Connect>, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let chunk = match wire.turn(true).await? {
            Turn::Received(chunk) => chunk,
            Turn::Sent => continue,
            Turn::Closed => return Err(End::Closed),
        };
        let bytes = wire.join(chunk);
        let received = connection.receive(&bytes, 1, Instant::now().into_std(), wire.out())?;
        let (used, request) = (received.consumed, received.request);
        wire.keep(bytes, used);
        if let Some(Request::Connect(connect)) = request {
            return Ok(connect);
        }
    }
}

fn open_session(broker: &Broker, peer: PeerIdentity, connect: &Connect, place: &Place) -> Result<Session, ErrorKind> {
    let credentials = Credentials {
        client_id: connect.client_id.clone(),
        username: connect.username.clone(),
        password: connect.password.clone(),
        peer: peer.clone(),
    };
    let principal = broker.authenticate(&credentials).map_err(|error| error.kind())?;
    let client_id = if connect.client_id.is_empty() {
        // [MQTT-3.1.3-6]: the hub names a client that does not name itself.
        format!("auto-{:x}-{:x}", broker.clock().now().0, place.number())
    } else {
        connect.client_id.clone()
    };
    let options = SessionOptions { client_id, protocol: connect.protocol, clean: connect.clean, peer };
    broker.open_session(principal, options).map_err(|error| {
        broker.metrics().refused("connect", error.kind());
        error.kind()
    })
}

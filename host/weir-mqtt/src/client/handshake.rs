//! From an open stream to a client with a session.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, Limits, Session, SessionOptions, Will};
use weir_core::{
    Classify, ErrorKind, OwnedMessage,
    seams::{Credentials, PeerIdentity},
};

use super::{
    end::End,
    traffic::Client,
    wire::{Turn, Wire},
};
use crate::{
    ProtocolError,
    admission::Place,
    codec::{self, Connect},
    connection::{Accepted, Bounds, Connection, Request},
};

/// Why there is no session, for the client.
struct Refusal {
    kind: ErrorKind,
    why: String,
}

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
    let mut connection = Connection::new(bounds(limits), Instant::now().into_std());
    let connect = tokio::select! {
        connect = tokio::time::timeout(limits.handshake, read_connect(wire, &mut connection)) => {
            connect.map_err(|_| ProtocolError::HandshakeTimeout)??
        }
        () = stop.cancelled() => return Err(End::Draining),
    };
    let (protocol, is_unnamed, expiry) = (connect.protocol, connect.client_id.is_empty(), connect.session_expiry());
    // Nothing is read meanwhile: what follows CONNECT is kept, or stays in the socket.
    let session = tokio::select! {
        session = open_session(broker, peer, *connect, place) => session,
        () = stop.cancelled() => return Err(End::Draining),
    };
    let session = match session {
        Ok(session) => session,
        Err(Refusal { kind, why }) => {
            connection.refused(kind, &why, wire.out());
            return Err(End::Refused);
        }
    };
    let accepted = Accepted {
        session_present: session.is_present(),
        session_expiry: Some(session.expiry()).filter(|kept| *kept != expiry),
        assigned_client_id: Some(&**session.client_id()).filter(|_| is_unnamed),
    };
    if let Err(error) = connection.accepted(&accepted, Instant::now().into_std(), wire.out()) {
        let end = End::from(error);
        session.close(end.seen_by_session()).await;
        return Err(end);
    }
    Ok(Box::new(Client::new(broker.clone(), session, connection, protocol)))
}

fn bounds(limits: &Limits) -> Bounds {
    let whole_seconds = |time: Duration| u16::try_from(time.as_secs()).unwrap_or(u16::MAX).max(1);
    Bounds {
        payload: limits.payload,
        filters: limits.filters_per_subscribe,
        handshake: limits.handshake,
        keep_alive: whole_seconds(limits.keep_alive),
        // 0 may not be said.
        receive_maximum: limits.receive_maximum.max(1),
        topic_aliases: limits.topic_aliases,
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

async fn open_session(
    broker: &Broker,
    peer: PeerIdentity,
    connect: Connect,
    place: &Place,
) -> Result<Session, Refusal> {
    let expiry = connect.session_expiry();
    let credentials =
        Credentials { client_id: connect.client_id, username: connect.username, password: connect.password, peer };
    let principal = broker.authenticate(&credentials).map_err(|error| refusal(&error))?;
    let mut client_id = credentials.client_id;
    if client_id.is_empty() {
        // [MQTT-3.1.3-6]: the hub names a client that does not name itself.
        client_id = format!("auto-{:x}-{:x}", broker.clock().now().0, place.number());
    }
    let options = SessionOptions {
        client_id,
        protocol: connect.protocol,
        clean_start: connect.clean,
        expiry,
        receive_maximum: connect.properties.receive_maximum,
        will: connect.will.map(will),
        peer: credentials.peer,
    };
    broker.open_session(principal, options).await.map_err(|error| {
        broker.metrics().refused("connect", error.kind());
        refusal(&error)
    })
}

fn refusal(error: &(impl Classify + std::fmt::Display)) -> Refusal {
    Refusal { kind: error.kind(), why: error.to_string() }
}

fn will(will: codec::Will) -> Will {
    let message = OwnedMessage {
        retain: will.retain,
        expiry: will.expiry,
        content_type: will.content_type,
        response_topic: will.response_topic,
        correlation: will.correlation,
        user_properties: will.user,
        text: will.text,
        ..OwnedMessage::new(will.topic, will.qos, will.payload)
    };
    Will { message, delay: will.delay }
}

//! MQTT over WebSocket: an HTTP request becomes a stream of bytes, which is served as any other.
//!
//! Any path is upgraded, if the client asks for a subprotocol of MQTT ([`handshake`]). From then on the client's bytes
//! are the payloads of binary frames, however they are cut ([`incoming`]), and what is written goes out as one binary
//! frame a write ([`WebSocket`]). A request that is no upgrade gets an HTTP answer ([`http`]); one for a path of the HTTP
//! gateway for devices is answered by that ([`HttpRequests`]), and the connection goes on.
//!
//! Architecture invariant: nothing is gathered. A frame's payload is handed on as it arrives, in the reader's own buffer,
//! so an idle connection holds no buffer and a busy one none but a header and one control frame.

mod handshake;
mod http;
mod incoming;
mod stream;

#[cfg(test)]
mod tests;

use std::{error::Error, fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{Request, Response, body::Incoming};
use weir_core::seams::PeerIdentity;

pub(crate) use http::open;
pub(crate) use stream::WebSocket;

/// The body of an answer that is not a WebSocket's.
pub type HttpBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// An answer in the making.
pub type HttpAnswer = Pin<Box<dyn Future<Output = Response<HttpBody>> + Send>>;

/// Who answers requests to paths of its own on the ports for WebSockets. Any other path is for WebSockets.
pub trait HttpRequests: fmt::Debug + Send + Sync {
    fn serves(&self, path: &str) -> bool;

    /// `peer` is what the transport proved.
    fn answer(&self, request: Request<Incoming>, from: IpAddr, peer: PeerIdentity) -> HttpAnswer;
}

/// What WebSocket listeners let in.
#[derive(Debug, Clone)]
pub struct WebSocketOptions {
    /// Origins whose pages may connect, such as `https://app.example.org`. Empty: those of any. A client that is no
    /// browser names none and is let in: its credentials are in CONNECT.
    pub origins: Vec<String>,
    /// Bytes of one message, in however many frames.
    pub message: u64,
    /// Time from the connection, or from the end of the TLS handshake, to the whole request.
    pub handshake: Duration,
    pub requests: Option<Arc<dyn HttpRequests>>,
    /// Time from the head of such a request to its answer, and from there to the next head or the end.
    pub request: Duration,
}

//! The HTTP gateway for devices (vendor protocol §3.2), on the ports where MQTT over WebSocket is.
//!
//! A device signs each request, with what it shares with the hub. A request is bounded in size and time, and each peer has
//! a rate; then one function of the broker does what is asked. One file for each thing that can be asked. [`plain`] is the
//! same in a dialect of its own, for whoever has none.
//!
//! The vendor's clients take every status but 200 for a failure of the transport, so a refusal has status 200 and says in
//! its body what is wrong ([`answer`]).

mod answer;
mod body;
mod legacy;
mod payload;
mod plain;
mod publish;
mod register;
mod signature;

use std::{convert::Infallible, fmt, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::future::BoxFuture;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::ServiceExt;
use weir_broker::{Broker, Origins, Rate, origin};
use weir_core::{ErrorKind, seams::PeerIdentity};

use crate::{CertificateAuthority, error::ApiError};

/// Bounds of what a device may ask over HTTP. Each is a typed refusal when it is reached.
#[derive(Debug, Clone)]
pub struct GatewayLimits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Bytes of a request's body that publishes many messages.
    pub batch: usize,
    /// Time in which a request's body must arrive.
    pub body_time: Duration,
    /// Requests from one address. Beyond it one is refused before its body is read.
    pub requests_per_address: Option<Rate>,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            body: 16 * 1024,
            batch: 1024 * 1024,
            body_time: Duration::from_secs(10),
            requests_per_address: Rate::new(100, 1_000),
        }
    }
}

/// Answers the requests of devices. Cloning shares it.
#[derive(Clone)]
pub struct Gateway {
    router: Router,
}

/// What the gateway's files work with.
struct Gate {
    broker: Broker,
    authority: Arc<dyn CertificateAuthority>,
    limits: GatewayLimits,
    /// What each peer has asked lately. Held for one look, and seldom for one at all of them.
    origins: Mutex<Origins>,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

/// What the transport has proved already.
#[derive(Debug, Clone)]
struct Proved(PeerIdentity);

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    pub fn new(broker: Broker, authority: Arc<dyn CertificateAuthority>, limits: GatewayLimits) -> Self {
        let gate = Arc::new(Gate { broker, authority, limits, origins: Mutex::default() });
        let router = Router::new()
            .route("/device/register", post(register::register))
            .route("/device/publish", post(publish::publish))
            .route("/device/reportlog", post(publish::report_log))
            .route("/register/dev", post(legacy::register))
            .merge(plain::routes())
            .fallback(unknown_path)
            .method_not_allowed_fallback(only_post)
            .with_state(gate);
        Self { router }
    }

    /// Whether a path is the gateway's, and not for a WebSocket.
    pub fn serves(&self, path: &str) -> bool {
        ["/device/", "/register/"].iter().any(|prefix| path.starts_with(prefix))
    }

    /// `peer` is what the transport proved.
    pub fn answer(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
        peer: PeerIdentity,
    ) -> BoxFuture<'static, Response<Body>> {
        self.route(request.map(Body::new), from, peer)
    }

    /// Of any body, for tests without sockets.
    pub(crate) fn route(
        &self,
        mut request: Request<Body>,
        from: IpAddr,
        peer: PeerIdentity,
    ) -> BoxFuture<'static, Response<Body>> {
        request.extensions_mut().insert(Peer(from));
        request.extensions_mut().insert(Proved(peer));
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answered = self.router.clone().oneshot(request);
        Box::pin(async move {
            let response = answered.await.unwrap_or_else(|never: Infallible| match never {});
            tracing::debug!(%method, path, status = response.status().as_u16(), "request of a device");
            response
        })
    }
}

impl Gate {
    /// Takes a request from the peer's rate.
    fn admit(&self, Peer(address): Peer) -> Result<(), ApiError> {
        let Some(rate) = self.limits.requests_per_address else { return Ok(()) };
        let (origin, now) = (origin(address), Instant::now());
        let mut origins = self.origins.lock();
        match origins.bucket(origin).take(rate, 1, now) {
            Ok(bucket) => {
                origins.put(origin, bucket, now);
                Ok(())
            }
            Err(_until) => {
                Err(ApiError::new(ErrorKind::Throttled, "too many requests come from this address; try again"))
            }
        }
    }

    /// Counts a refusal by kind.
    fn counted<T>(&self, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
        outcome.inspect_err(|error| self.broker.metrics().refused("http_gateway", error.kind))
    }
}

async fn unknown_path(uri: Uri) -> Response {
    let error = ApiError::new(ErrorKind::NotFound, format!("there is nothing at {}", uri.path()));
    if uri.path().starts_with(plain::PREFIX) {
        return error.into_response();
    }
    (StatusCode::NOT_FOUND, answer::refusal(&error)).into_response()
}

async fn only_post(uri: Uri) -> Response {
    if uri.path().starts_with(plain::PREFIX) {
        let error = ApiError::invalid(format!("this method is not possible on {}", uri.path()));
        return error.with_status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let error = ApiError::invalid(format!("only POST is possible on {}", uri.path()));
    (StatusCode::METHOD_NOT_ALLOWED, answer::refusal(&error)).into_response()
}

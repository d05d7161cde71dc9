//! Every route, who may use it, and what all requests have in common.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    handler::Handler,
    http::{Method, StatusCode, Uri},
    middleware::{self, Next},
    response::Response,
    routing::{self, MethodRouter},
};
use tokio::sync::Semaphore;
use weir_broker::{Broker, Drain};
use weir_core::{ErrorKind, Timestamp};

use crate::{
    HttpOptions,
    access::{Access, authorize},
    error::ApiError,
    probes, v1,
};

/// What handlers work with. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) broker: Broker,
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) drain: Drain,
    pub(crate) started_at: Timestamp,
    /// Places for running queries.
    pub(crate) queries: Arc<Semaphore>,
    /// Places for running backtests.
    pub(crate) backtests: Arc<Semaphore>,
}

impl Hub {
    pub(crate) fn new(broker: Broker, options: HttpOptions, drain: Drain) -> Self {
        Self {
            started_at: broker.clock().now(),
            queries: Arc::new(Semaphore::new(options.limits.queries)),
            backtests: Arc::new(Semaphore::new(options.limits.backtests)),
            options: Arc::new(options),
            broker,
            drain,
        }
    }
}

/// One method of one path. The list of these is the API; a test demands three cases for each.
pub(crate) struct Route {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the handler knows it too; the test that reads the list does not")
    )]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    access: Access,
    handler: MethodRouter<Hub>,
}

impl Route {
    pub(crate) fn get<T: 'static>(access: Access, path: &'static str, handler: impl Handler<T, Hub>) -> Self {
        Self { method: Method::GET, path, access, handler: routing::get(handler) }
    }

    pub(crate) fn post<T: 'static>(access: Access, path: &'static str, handler: impl Handler<T, Hub>) -> Self {
        Self { method: Method::POST, path, access, handler: routing::post(handler) }
    }

    pub(crate) fn put<T: 'static>(access: Access, path: &'static str, handler: impl Handler<T, Hub>) -> Self {
        Self { method: Method::PUT, path, access, handler: routing::put(handler) }
    }

    pub(crate) fn patch<T: 'static>(access: Access, path: &'static str, handler: impl Handler<T, Hub>) -> Self {
        Self { method: Method::PATCH, path, access, handler: routing::patch(handler) }
    }

    pub(crate) fn delete<T: 'static>(access: Access, path: &'static str, handler: impl Handler<T, Hub>) -> Self {
        Self { method: Method::DELETE, path, access, handler: routing::delete(handler) }
    }
}

pub(crate) fn routes() -> Vec<Route> {
    let mut routes = probes::routes();
    routes.extend(v1::routes());
    routes
}

pub(crate) fn router(hub: &Hub) -> Router {
    let mut router = Router::new();
    for Route { path, access, handler, .. } in routes() {
        router =
            router.route(path, handler.route_layer(middleware::from_fn_with_state((hub.clone(), access), authorize)));
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(hub.clone(), observe))
        .with_state(hub.clone())
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("there is nothing at {}", uri.path()))
}

async fn unknown_method(method: Method, uri: Uri) -> Response {
    let message = format!("{method} is not possible on {}", uri.path());
    ApiError::invalid(message).with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// Counts refusals and writes one line per request at debug level. Neither has the query string, which may name topics.
async fn observe(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    if let Some(kind) = response.extensions().get::<ErrorKind>() {
        hub.broker.metrics().refused("api", *kind);
    }
    tracing::debug!(%method, path, status = response.status().as_u16(), "request");
    response
}

//! What monitoring reads without a key: is the hub well, and its counters.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    access::Access,
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get(Access::Open, "/healthz", health), Route::get(Access::Open, "/metrics", metrics)]
}

/// Whether messages can be accepted: plain text, because people and load balancers read it.
async fn health(State(hub): State<Hub>) -> Response {
    let reason = if let Some(ailment) = hub.broker.ailment() {
        ailment
    } else if hub.broker.draining() || hub.drain.token().is_cancelled() {
        "the hub is draining"
    } else {
        return "ok\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

async fn metrics(State(hub): State<Hub>) -> Response {
    if let Some(lake) = &hub.options.lake {
        hub.broker.metrics().lake(&lake.status());
    }
    let text = hub.broker.metrics().encode(hub.broker.log());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

//! `/v1/backfills`: what a rule makes of past messages, sent to its targets.
//!
//! A request runs until everything is sent. One that breaks off is taken up by the next of the same name. The answer has
//! the forms of that of `/v1/backtests`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use serde::Deserialize;
use serde_json::json;
use weir_broker::{Backfill, BackfillProgress};
use weir_core::{ErrorKind, RuleName, Timestamp};

use super::{
    lines::told_by_lines,
    query::{LINES, accepts, range},
};
use crate::{
    access::Access,
    error::ApiError,
    extract::JsonBody,
    router::{Hub, Route},
};

/// Bytes of a backfill's name.
const NAME_BYTES: usize = 64;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::post(Access::Administrator, "/v1/backfills", backfill)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    rule: RuleName,
    /// Only the actions with this target or sink.
    sink: Option<String>,
    /// Under which its progress is remembered.
    name: String,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

async fn backfill(
    State(hub): State<Hub>,
    headers: HeaderMap,
    JsonBody(Request { rule, sink, name, from, to }): JsonBody<Request>,
) -> Result<Response, ApiError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(is_name) {
        return Err(ApiError::invalid(format!(
            "the name of a backfill is 1 to {NAME_BYTES} letters, digits or - _ . :"
        )));
    }
    let Ok(place) = Arc::clone(&hub.backtests).try_acquire_owned() else {
        let limit = hub.options.limits.backtests;
        let message = format!("{limit} backtests or backfills are running, which is the limit; try again");
        return Err(ApiError::new(ErrorKind::Throttled, message));
    };
    let progress = Arc::new(BackfillProgress::default());
    let backfill = Backfill { rule, sink, name, time: range(from, to), progress: Arc::clone(&progress) };
    let work = async move {
        let _place = place;
        let drain = hub.drain.token().clone();
        tokio::select! {
            biased;
            () = drain.cancelled() => Err(ApiError::new(ErrorKind::Unavailable, "the hub is draining; it goes on when it is asked again")),
            done = hub.broker.rules().backfill(hub.options.query.as_ref(), backfill) => done.map_err(ApiError::from),
        }
    };
    if accepts(&headers, LINES) {
        return Ok(told_by_lines(work.map(|done| done.map(|report| json!(report))), move || json!(progress.counts())));
    }
    Ok(Json(work.await?).into_response())
}

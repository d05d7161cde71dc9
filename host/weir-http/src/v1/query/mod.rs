//! `/v1/query`: SQL over the messages of lake and log, and over tables.
//!
//! What the client accepts decides the form of the answer. `application/json`: one document, when it is complete.
//! `application/x-ndjson`: one document for each step as it is made; what goes wrong on the way is told in the last.
//! `application/vnd.apache.arrow.stream`: Arrow's IPC stream; if something goes wrong on the way, it breaks off. A client
//! that goes away ends its query.

mod cells;
mod stream;

use std::sync::Arc;

use arrow::array::RecordBatch;
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use weir_core::{
    ErrorKind, Timestamp,
    history::{QueryRequest, ScanProgress, TimeRange},
    seams::QueryError,
};

use crate::{
    access::Access,
    error::ApiError,
    extract::JsonBody,
    router::{Hub, Route},
};

pub(super) use stream::ticks;

pub(super) const LINES: &str = "application/x-ndjson";
const ARROW: &str = "application/vnd.apache.arrow.stream";

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::post(Access::Administrator, "/v1/query", query)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    sql: String,
    /// Accept times of the messages that are read.
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

async fn query(
    State(hub): State<Hub>,
    headers: HeaderMap,
    JsonBody(Query { sql, from, to }): JsonBody<Query>,
) -> Result<Response, ApiError> {
    let limits = &hub.options.limits;
    let Ok(place) = Arc::clone(&hub.queries).try_acquire_owned() else {
        let message = format!("{} queries are running, which is the limit; try again", limits.queries);
        return Err(ApiError::new(ErrorKind::Throttled, message));
    };
    let deadline = Instant::now() + limits.query_time;
    let too_long =
        || QueryError::LimitExceeded(format!("the query ran longer than {} seconds", limits.query_time.as_secs()));
    let progress = Arc::new(ScanProgress::default());
    let request = QueryRequest { sql: &sql, time: range(from, to), progress: &progress };
    let run = timeout_at(deadline, hub.options.query.query(request)).await.map_err(|_| too_long())??;
    let running = stream::Running { run, progress, rows: 0, limit: limits.query_rows, _place: place, hub: hub.clone() };
    if accepts(&headers, LINES) {
        return Ok(([(header::CONTENT_TYPE, LINES)], stream::lines(running)).into_response());
    }
    if accepts(&headers, ARROW) {
        return Ok(([(header::CONTENT_TYPE, ARROW)], stream::arrow(running)?).into_response());
    }
    let body = timeout_at(deadline, document(running, limits.query_bytes)).await.map_err(|_| too_long())??;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) fn range(from: Option<Timestamp>, to: Option<Timestamp>) -> TimeRange {
    TimeRange { from: from.unwrap_or(TimeRange::ALL.from), to: to.unwrap_or(TimeRange::ALL.to) }
}

pub(super) fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|accepted| accepted.split(';').next().is_some_and(|accepted| accepted.trim() == media))
}

/// The whole result: `{"columns":[{"name","type"}],"rows":[[…]],"scan":{…}}`.
async fn document(mut running: stream::Running, bytes: usize) -> Result<Vec<u8>, QueryError> {
    let columns = cells::columns(&running.run.schema());
    let mut body = format!("{{\"columns\":{columns},\"rows\":[").into_bytes();
    let mut is_first = true;
    while let Some(batch) = running.next().await {
        let rendered = rendered(batch?).await?;
        if rendered.is_empty() {
            continue;
        }
        if !is_first {
            body.push(b',');
        }
        is_first = false;
        body.extend_from_slice(&rendered);
        if body.len() > bytes {
            let message = format!("the result is larger than the limit of {bytes} bytes: add LIMIT, or let it stream");
            return Err(QueryError::LimitExceeded(message));
        }
    }
    body.extend_from_slice(format!("],\"scan\":{}}}", json!(running.progress.counts())).as_bytes());
    Ok(body)
}

/// Rows as JSON arrays with commas between them. Takes longer than other requests should wait for this thread.
async fn rendered(batch: RecordBatch) -> Result<Vec<u8>, QueryError> {
    let rendered = tokio::task::spawn_blocking(move || cells::rows(&batch)).await;
    rendered.map_err(|error| QueryError::Failed(error.to_string()))?
}

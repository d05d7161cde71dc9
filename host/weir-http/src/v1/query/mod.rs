//! `/v1/query`: SQL over the messages that the log holds.

mod cells;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use weir_core::{ErrorKind, seams::QueryError};

use crate::{
    access::Access,
    error::ApiError,
    extract::JsonBody,
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::post(Access::Administrator, "/v1/query", query)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    sql: String,
}

async fn query(State(hub): State<Hub>, JsonBody(Query { sql }): JsonBody<Query>) -> Result<Response, ApiError> {
    let limits = &hub.options.limits;
    let Ok(_place) = hub.queries.try_acquire() else {
        let message = format!("{} queries are running, which is the limit; try again", limits.queries);
        return Err(ApiError::new(ErrorKind::Throttled, message));
    };
    let time = limits.query_time;
    let batches = tokio::time::timeout(time, hub.options.query.query(&sql))
        .await
        .map_err(|_| QueryError::LimitExceeded(format!("the query ran longer than {} seconds", time.as_secs())))??;
    let bounds = cells::Bounds { rows: limits.query_rows, bytes: limits.query_bytes };
    // Rendering a large result takes longer than other requests should wait for this thread.
    let rendered = tokio::task::spawn_blocking(move || cells::render(&batches, bounds)).await;
    let body = rendered.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))??;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

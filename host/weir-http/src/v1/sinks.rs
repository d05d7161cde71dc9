//! `/v1/sinks`: targets with a name. They are made by scripts, through `/v1/apply`.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;
use weir_broker::admin::sinks::{self, SinkRow};
use weir_core::{SinkName, Timestamp, statement::Statement};

use super::List;
use crate::{
    access::{Access, Caller},
    error::ApiError,
    extract::PathParams,
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get(Access::Administrator, "/v1/sinks", list),
        Route::get(Access::Administrator, "/v1/sinks/{sink}", describe),
        Route::delete(Access::Administrator, "/v1/sinks/{sink}", remove),
    ]
}

#[derive(Serialize)]
struct Shown {
    name: SinkName,
    kind: String,
    text: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<SinkRow> for Shown {
    fn from(SinkRow { name, kind, text, created_at, updated_at }: SinkRow) -> Self {
        Self { name, kind, text, created_at, updated_at }
    }
}

async fn list(State(hub): State<Hub>) -> Result<Json<List<Shown>>, ApiError> {
    let sinks = sinks::list(&hub.broker).await?;
    Ok(Json(List::whole(sinks.into_iter().map(Shown::from).collect())))
}

async fn describe(State(hub): State<Hub>, PathParams(name): PathParams<SinkName>) -> Result<Json<Shown>, ApiError> {
    Ok(Json(sinks::get(&hub.broker, &name)?.into()))
}

/// Refused while a rule writes to it.
async fn remove(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(name): PathParams<SinkName>,
) -> Result<StatusCode, ApiError> {
    hub.broker.rules().change(vec![Statement::DropSink(name)], &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

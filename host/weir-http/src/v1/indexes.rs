//! `/v1/indexes`: what makes queries over shadows quick. They are made by scripts, through `/v1/apply`.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;
use weir_broker::admin::indexes::{self, IndexRow};
use weir_core::{IndexName, Timestamp, statement::Statement};

use super::List;
use crate::{
    access::{Access, Caller},
    error::ApiError,
    extract::PathParams,
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get(Access::Administrator, "/v1/indexes", list),
        Route::get(Access::Administrator, "/v1/indexes/{index}", describe),
        Route::delete(Access::Administrator, "/v1/indexes/{index}", remove),
    ]
}

#[derive(Serialize)]
struct Shown {
    name: IndexName,
    table: &'static str,
    /// What it finds rows by, such as `reported.fw`.
    on: String,
    text: String,
    created_at: Timestamp,
}

impl From<IndexRow> for Shown {
    fn from(IndexRow { name, text, indexed, created_at }: IndexRow) -> Self {
        Self { name, table: "shadows", on: indexed.to_string(), text, created_at }
    }
}

async fn list(State(hub): State<Hub>) -> Result<Json<List<Shown>>, ApiError> {
    let indexes = indexes::list(&hub.broker).await?;
    Ok(Json(List::whole(indexes.into_iter().map(Shown::from).collect())))
}

async fn describe(State(hub): State<Hub>, PathParams(name): PathParams<IndexName>) -> Result<Json<Shown>, ApiError> {
    Ok(Json(indexes::get(&hub.broker, &name)?.into()))
}

async fn remove(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(name): PathParams<IndexName>,
) -> Result<StatusCode, ApiError> {
    hub.broker.rules().change(vec![Statement::DropIndex(name)], &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

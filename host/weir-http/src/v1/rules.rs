//! `/v1/apply` and `/v1/rules`: scripts of the rule language, and the rules in force.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;
use weir_broker::{Applied, RuleStatus};
use weir_core::{ErrorKind, Principal, RuleName, statement::Statement};

use super::List;
use crate::{
    access::{Access, Caller},
    error::ApiError,
    extract::{PathParams, RawBody},
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, "/v1/apply", apply),
        Route::get(Access::Administrator, "/v1/rules", list),
        Route::get(Access::Administrator, "/v1/rules/{rule}", describe),
        Route::delete(Access::Administrator, "/v1/rules/{rule}", remove),
        Route::post(Access::Administrator, "/v1/rules/{rule}/enable", enable),
        Route::post(Access::Administrator, "/v1/rules/{rule}/disable", disable),
    ]
}

#[derive(Serialize)]
struct Results {
    results: Vec<Applied>,
}

async fn apply(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    RawBody(script): RawBody,
) -> Result<Json<Results>, ApiError> {
    let script = std::str::from_utf8(&script)
        .map_err(|error| ApiError::invalid(format!("the script is not UTF-8 text: {error}")))?;
    Ok(Json(Results { results: hub.broker.rules().apply(script, &caller).await? }))
}

async fn list(State(hub): State<Hub>) -> Json<List<RuleStatus>> {
    Json(List::whole(hub.broker.rules().statuses()))
}

async fn describe(
    State(hub): State<Hub>,
    PathParams(name): PathParams<RuleName>,
) -> Result<Json<RuleStatus>, ApiError> {
    status(&hub, &name).map(Json)
}

async fn remove(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(name): PathParams<RuleName>,
) -> Result<StatusCode, ApiError> {
    hub.broker.rules().change(vec![Statement::DropRule(name)], &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn enable(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(name): PathParams<RuleName>,
) -> Result<Json<RuleStatus>, ApiError> {
    change(&hub, &caller, name.clone(), Statement::EnableRule(name)).await
}

async fn disable(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(name): PathParams<RuleName>,
) -> Result<Json<RuleStatus>, ApiError> {
    change(&hub, &caller, name.clone(), Statement::DisableRule(name)).await
}

async fn change(
    hub: &Hub,
    caller: &Principal,
    name: RuleName,
    statement: Statement,
) -> Result<Json<RuleStatus>, ApiError> {
    hub.broker.rules().change(vec![statement], caller).await?;
    status(hub, &name).map(Json)
}

fn status(hub: &Hub, name: &RuleName) -> Result<RuleStatus, ApiError> {
    let missing = || ApiError::new(ErrorKind::NotFound, format!("there is no rule \"{name}\""));
    hub.broker.rules().status(name).ok_or_else(missing)
}

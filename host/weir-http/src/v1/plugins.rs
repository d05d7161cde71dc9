//! `/v1/plugins`: WebAssembly components by name.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use weir_broker::admin::plugins::{self, PluginRow};
use weir_core::{PluginName, Timestamp, plugin::PluginSummary};

use super::List;
use crate::{
    access::Access,
    error::ApiError,
    extract::{ComponentBody, PathParams},
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::put(Access::Administrator, "/v1/plugins/{plugin}", push),
        Route::get(Access::Administrator, "/v1/plugins", list),
        Route::get(Access::Administrator, "/v1/plugins/{plugin}", describe),
        Route::delete(Access::Administrator, "/v1/plugins/{plugin}", remove),
    ]
}

#[derive(Serialize)]
struct Shown {
    name: PluginName,
    version: u32,
    #[serde(flatten)]
    summary: PluginSummary,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<PluginRow> for Shown {
    fn from(PluginRow { name, version, summary, created_at, updated_at }: PluginRow) -> Self {
        Self { name, version, summary, created_at, updated_at }
    }
}

/// Sinks that use it go on with this version.
async fn push(
    State(hub): State<Hub>,
    PathParams(name): PathParams<PluginName>,
    ComponentBody(component): ComponentBody,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(plugins::push(&hub.broker, &name, component.as_ref().into()).await?.into()))
}

async fn list(State(hub): State<Hub>) -> Result<Json<List<Shown>>, ApiError> {
    let plugins = plugins::list(&hub.broker).await?;
    Ok(Json(List::whole(plugins.into_iter().map(Shown::from).collect())))
}

async fn describe(State(hub): State<Hub>, PathParams(name): PathParams<PluginName>) -> Result<Json<Shown>, ApiError> {
    Ok(Json(plugins::get(&hub.broker, &name)?.into()))
}

/// Refused while a sink or a rule uses it.
async fn remove(State(hub): State<Hub>, PathParams(name): PathParams<PluginName>) -> Result<StatusCode, ApiError> {
    plugins::delete(&hub.broker, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

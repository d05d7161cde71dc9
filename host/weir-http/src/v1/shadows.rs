//! `/v1/products/{product}/devices/{device}/shadow`, and `/v1/shadows` for many changes at once.
//!
//! A change goes through the log with the caller's authority, as a device's does: who may publish to a shadow's topic may
//! change it, and who may subscribe to its results may read it. It is answered when it was applied.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_broker::{Shadow, ShadowError, ShadowUpdate};
use weir_core::{DeviceId, DeviceName, ProductId, ShadowName, shadow};

use super::List;
use crate::{
    access::{Access, Caller},
    error::ApiError,
    extract::{JsonBody, PathParams, QueryParams},
    router::{Hub, Route},
};

const SHADOW: &str = "/v1/products/{product}/devices/{device}/shadow";
const OF_DEVICE: &str = "/v1/products/{product}/devices/{device}/shadows";
const MANY: &str = "/v1/shadows";

/// Changes in one request.
const UPDATES: usize = 1_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get(Access::Application, SHADOW, describe),
        Route::patch(Access::Application, SHADOW, change),
        Route::put(Access::Application, SHADOW, replace),
        Route::delete(Access::Application, SHADOW, remove),
        Route::get(Access::Application, OF_DEVICE, list),
        Route::post(Access::Application, MANY, change_many),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Without it, the classic one.
    name: Option<ShadowName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    name: Option<ShadowName>,
    /// The version that the shadow must have; 0: any.
    #[serde(default)]
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// `reported` and `desired`; `null` for a key deletes it, `null` for all of one clears that.
    state: Map<String, Value>,
    /// The version that the shadow must have; 0: any.
    #[serde(default)]
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeMany {
    updates: Vec<ChangeOne>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeOne {
    product: ProductId,
    device: DeviceName,
    name: Option<ShadowName>,
    state: Map<String, Value>,
    #[serde(default)]
    version: u64,
}

#[derive(Serialize)]
struct Shown {
    product: ProductId,
    device: DeviceName,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<ShadowName>,
    /// `state`, `metadata`, `version`, `timestamp`.
    #[serde(flatten)]
    document: Value,
}

/// What became of one change of many.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Changed {
    Version(u64),
    Error(Value),
}

impl Shown {
    fn new(shadow: Shadow) -> Self {
        let DeviceId { product, device } = shadow.device;
        Self { product, device, name: shadow.name, document: shadow::document_value(&shadow.document) }
    }
}

async fn describe(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(device): PathParams<DeviceId>,
    QueryParams(Which { name }): QueryParams<Which>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(Shown::new(hub.broker.shadow(&caller, &device, name.as_ref()).await?)))
}

async fn list(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(device): PathParams<DeviceId>,
) -> Result<Json<List<Shown>>, ApiError> {
    let shadows = hub.broker.shadows_of(&caller, &device).await?;
    Ok(Json(List::whole(shadows.into_iter().map(Shown::new).collect())))
}

/// Merges.
async fn change(
    hub: State<Hub>,
    caller: Extension<Caller>,
    device: PathParams<DeviceId>,
    which: QueryParams<Which>,
    body: JsonBody<Change>,
) -> Result<Json<Shown>, ApiError> {
    update(hub, caller, device, which, body, false).await
}

/// Replaces the parts that are given.
async fn replace(
    hub: State<Hub>,
    caller: Extension<Caller>,
    device: PathParams<DeviceId>,
    which: QueryParams<Which>,
    body: JsonBody<Change>,
) -> Result<Json<Shown>, ApiError> {
    update(hub, caller, device, which, body, true).await
}

async fn update(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(device): PathParams<DeviceId>,
    QueryParams(Which { name }): QueryParams<Which>,
    JsonBody(Change { state, version }): JsonBody<Change>,
    overwrite: bool,
) -> Result<Json<Shown>, ApiError> {
    check(&state)?;
    let update = ShadowUpdate { device, name, state, version, overwrite };
    Ok(Json(Shown::new(hub.broker.update_shadow(&caller, update).await?)))
}

async fn remove(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(device): PathParams<DeviceId>,
    QueryParams(Remove { name, version }): QueryParams<Remove>,
) -> Result<StatusCode, ApiError> {
    hub.broker.delete_shadow(&caller, &device, name.as_ref(), version).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change_many(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    JsonBody(ChangeMany { updates }): JsonBody<ChangeMany>,
) -> Result<Json<List<Changed>>, ApiError> {
    if !(1..=UPDATES).contains(&updates.len()) {
        return Err(ApiError::invalid(format!("updates: one request has 1 to {UPDATES}, not {}", updates.len())));
    }
    updates.iter().try_for_each(|update| check(&update.state))?;
    let updates = updates.into_iter().map(|ChangeOne { product, device, name, state, version }| ShadowUpdate {
        device: DeviceId { product, device },
        name,
        state,
        version,
        overwrite: false,
    });
    let answers = hub.broker.update_shadows(&caller, updates.collect()).await?;
    let changed = |answer: Result<Shadow, ShadowError>| match answer {
        Ok(shadow) => Changed::Version(shadow.document.version()),
        Err(error) => Changed::Error(ApiError::from(error).detail()),
    };
    Ok(Json(List::whole(answers.into_iter().map(changed).collect())))
}

/// A key that is neither would be passed over, and the mistake with it.
pub(crate) fn check(state: &Map<String, Value>) -> Result<(), ApiError> {
    match state.keys().find(|key| !["reported", "desired"].contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ApiError::invalid(format!("state: {key:?} is neither reported nor desired"))),
    }
}

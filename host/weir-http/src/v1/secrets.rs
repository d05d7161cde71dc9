//! `/v1/secrets`: values that rules name by `secret('NAME')`. They can be written, never read back.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use weir_broker::admin::secrets;
use weir_core::{SecretName, Timestamp};

use super::List;
use crate::{
    access::Access,
    error::ApiError,
    extract::{PathParams, RawBody},
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::put(Access::Administrator, "/v1/secrets/{name}", store),
        Route::get(Access::Administrator, "/v1/secrets", list),
        Route::delete(Access::Administrator, "/v1/secrets/{name}", remove),
    ]
}

#[derive(Serialize)]
struct Shown {
    name: SecretName,
    created_at: Timestamp,
    updated_at: Timestamp,
}

async fn store(
    State(hub): State<Hub>,
    PathParams(name): PathParams<SecretName>,
    RawBody(value): RawBody,
) -> Result<StatusCode, ApiError> {
    secrets::put(&hub.broker, &name, &value).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list(State(hub): State<Hub>) -> Result<Json<List<Shown>>, ApiError> {
    let secrets = secrets::list(&hub.broker).await?;
    let items = secrets.into_iter().map(|secret| Shown {
        name: secret.name,
        created_at: secret.created_at,
        updated_at: secret.updated_at,
    });
    Ok(Json(List::whole(items.collect())))
}

async fn remove(State(hub): State<Hub>, PathParams(name): PathParams<SecretName>) -> Result<StatusCode, ApiError> {
    secrets::delete(&hub.broker, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

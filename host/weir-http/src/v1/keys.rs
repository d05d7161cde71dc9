//! `/v1/keys`: how programs and administrators prove themselves.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use weir_broker::admin::keys::{self, KeyRow, Role};
use weir_core::{Grants, KeyName, Timestamp, TopicFilter};

use super::List;
use crate::{
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams},
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, "/v1/keys", create),
        Route::get(Access::Administrator, "/v1/keys", list),
        Route::delete(Access::Administrator, "/v1/keys/{name}", remove),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: KeyName,
    #[serde(default)]
    administrator: bool,
    #[serde(default)]
    publish: Vec<TopicFilter>,
    #[serde(default)]
    subscribe: Vec<TopicFilter>,
}

#[derive(Serialize)]
struct Created {
    name: KeyName,
    /// Shown this once: only its hash is kept.
    secret: String,
}

#[derive(Serialize)]
struct Shown {
    name: KeyName,
    administrator: bool,
    publish: Vec<TopicFilter>,
    subscribe: Vec<TopicFilter>,
    created_at: Timestamp,
}

impl From<KeyRow> for Shown {
    fn from(key: KeyRow) -> Self {
        let (administrator, Grants { publish, subscribe }) = match key.role {
            Role::Administrator => (true, Grants::default()),
            Role::Application(grants) => (false, grants),
        };
        Self { name: key.name, administrator, publish, subscribe, created_at: key.created_at }
    }
}

async fn create(
    State(hub): State<Hub>,
    JsonBody(new): JsonBody<Create>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let grants = Grants { publish: new.publish, subscribe: new.subscribe };
    let role = match (new.administrator, grants == Grants::default()) {
        (true, true) => Role::Administrator,
        (true, false) => {
            return Err(ApiError::invalid(
                "an administrator's key reaches every topic: leave out publish and subscribe",
            ));
        }
        (false, _) => Role::Application(grants),
    };
    let secret = keys::create(&hub.broker, &new.name, role).await?;
    Ok((StatusCode::CREATED, Json(Created { name: new.name, secret })))
}

async fn list(State(hub): State<Hub>) -> Result<Json<List<Shown>>, ApiError> {
    let keys = keys::list(&hub.broker).await?;
    Ok(Json(List::whole(keys.into_iter().map(Shown::from).collect())))
}

async fn remove(State(hub): State<Hub>, PathParams(name): PathParams<KeyName>) -> Result<StatusCode, ApiError> {
    keys::delete(&hub.broker, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

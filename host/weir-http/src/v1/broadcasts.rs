//! `/v1/products/{product}/broadcasts`: a message to every device of a product, and how far it has come.

use axum::{Extension, Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use weir_broker::{Broadcast, BroadcastId, BroadcastState};
use weir_core::{ProductId, Qos, Timestamp};

use super::{List, publish::payload_of};
use crate::{
    access::{Access, Caller},
    error::ApiError,
    extract::{MessageBody, PathParams},
    router::{Hub, Route},
};

const COLLECTION: &str = "/v1/products/{product}/broadcasts";
const BROADCAST: &str = "/v1/products/{product}/broadcasts/{broadcast}";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Application, COLLECTION, begin),
        Route::get(Access::Application, COLLECTION, list),
        Route::get(Access::Application, BROADCAST, describe),
        Route::delete(Access::Application, BROADCAST, cancel),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default = "super::acknowledged")]
    qos: u8,
}

#[derive(Serialize)]
struct Shown {
    id: BroadcastId,
    product: ProductId,
    state: BroadcastState,
    /// Devices that the product had when it began.
    total: u64,
    /// Devices whose message is durable. It can pass the total: devices that are made meanwhile get it too.
    published: u64,
    publisher: String,
    qos: u8,
    /// Left out if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    payload_base64: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl From<Broadcast> for Shown {
    fn from(broadcast: Broadcast) -> Self {
        Self {
            id: broadcast.id,
            product: broadcast.product,
            state: broadcast.state,
            total: broadcast.total,
            published: broadcast.published,
            publisher: broadcast.publisher,
            qos: broadcast.qos as u8,
            payload_base64: STANDARD.encode(&broadcast.payload),
            payload: String::from_utf8(broadcast.payload).ok(),
            created_at: broadcast.created_at,
            updated_at: broadcast.updated_at,
            ended_at: broadcast.ended_at,
        }
    }
}

async fn begin(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(product): PathParams<ProductId>,
    MessageBody(Begin { payload, payload_base64, qos }): MessageBody<Begin>,
) -> Result<(StatusCode, Json<Shown>), ApiError> {
    let payload = payload_of(payload, payload_base64)?;
    let qos = Qos::from_u8(qos).ok_or_else(|| ApiError::invalid("qos: a broadcast is published with 0 or 1"))?;
    let begun = hub.broker.broadcast(&caller, &product, qos, payload).await?;
    Ok((StatusCode::CREATED, Json(begun.into())))
}

async fn list(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams(product): PathParams<ProductId>,
) -> Result<Json<List<Shown>>, ApiError> {
    let broadcasts = hub.broker.broadcasts_to(&caller, &product).await?;
    Ok(Json(List::whole(broadcasts.into_iter().map(Shown::from).collect())))
}

async fn describe(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams((product, id)): PathParams<(ProductId, BroadcastId)>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(hub.broker.broadcast_to(&caller, &product, id).await?.into()))
}

/// Ends it. Idempotent, but for one that is done.
async fn cancel(
    State(hub): State<Hub>,
    Extension(Caller(caller)): Extension<Caller>,
    PathParams((product, id)): PathParams<(ProductId, BroadcastId)>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(hub.broker.cancel_broadcast(&caller, &product, id).await?.into()))
}

//! `/v1/products/{product}/topics`: classes of topics that a product has beside the defaults.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use weir_broker::{
    Broker,
    admin::{
        products,
        topics::{self, TopicClass},
    },
};
use weir_core::{ProductId, TopicSuffix};

use super::List;
use crate::{
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams},
    router::{Hub, Route},
};

const COLLECTION: &str = "/v1/products/{product}/topics";
/// A suffix holds slashes, which the URL has as `%2F`.
const TOPIC: &str = "/v1/products/{product}/topics/{suffix}";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, COLLECTION, create),
        Route::get(Access::Administrator, COLLECTION, list),
        Route::patch(Access::Administrator, TOPIC, change),
        Route::delete(Access::Administrator, TOPIC, remove),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    suffix: TopicSuffix,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    subscribe: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    publish: bool,
    subscribe: bool,
}

#[derive(Serialize)]
pub(super) struct Shown {
    suffix: TopicSuffix,
    publish: bool,
    subscribe: bool,
    /// Whether every product has it, and it cannot be deleted.
    default: bool,
}

impl Shown {
    fn new(class: &TopicClass, default: bool) -> Self {
        Self { suffix: class.suffix.clone(), publish: class.publish, subscribe: class.subscribe, default }
    }
}

/// Every class of a product that exists: the defaults and its own.
pub(super) fn of(broker: &Broker, product: &ProductId) -> Vec<Shown> {
    let policy = broker.policy();
    let defaults = policy.defaults().iter().map(|class| Shown::new(class, true));
    defaults.chain(policy.classes(product).iter().map(|class| Shown::new(class, false))).collect()
}

async fn create(
    State(hub): State<Hub>,
    PathParams(product): PathParams<ProductId>,
    JsonBody(Create { suffix, publish, subscribe }): JsonBody<Create>,
) -> Result<(StatusCode, Json<Shown>), ApiError> {
    let class = TopicClass { suffix, publish, subscribe };
    topics::create(&hub.broker, &product, class.clone()).await?;
    Ok((StatusCode::CREATED, Json(Shown::new(&class, false))))
}

async fn list(
    State(hub): State<Hub>,
    PathParams(product): PathParams<ProductId>,
) -> Result<Json<List<Shown>>, ApiError> {
    products::get(&hub.broker, &product)?;
    Ok(Json(List::whole(of(&hub.broker, &product))))
}

async fn change(
    State(hub): State<Hub>,
    PathParams((product, suffix)): PathParams<(ProductId, TopicSuffix)>,
    JsonBody(Change { publish, subscribe }): JsonBody<Change>,
) -> Result<Json<Shown>, ApiError> {
    let class = TopicClass { suffix, publish, subscribe };
    topics::change(&hub.broker, &product, class.clone()).await?;
    Ok(Json(Shown::new(&class, false)))
}

async fn remove(
    State(hub): State<Hub>,
    PathParams((product, suffix)): PathParams<(ProductId, TopicSuffix)>,
) -> Result<StatusCode, ApiError> {
    topics::delete(&hub.broker, &product, &suffix).await?;
    Ok(StatusCode::NO_CONTENT)
}

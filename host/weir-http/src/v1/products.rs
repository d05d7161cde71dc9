//! `/v1/products`: kinds of devices, each with the schema that its payloads declare.

use std::fmt;

use axum::{Json, extract::State, http::StatusCode};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};
use weir_broker::{
    Broker,
    admin::products::{self, NewProduct, Product},
};
use weir_core::{ProductId, ProductType, Timestamp, seams::FieldType};

use super::{List, topics};
use crate::{
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams},
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post(Access::Administrator, "/v1/products", create),
        Route::get(Access::Administrator, "/v1/products", list),
        Route::get(Access::Administrator, "/v1/products/{product}", describe),
        Route::patch(Access::Administrator, "/v1/products/{product}", change),
        Route::delete(Access::Administrator, "/v1/products/{product}", remove),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    id: Option<ProductId>,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    kind: ProductType,
    #[serde(default)]
    schema: Schema,
}

#[derive(Serialize)]
struct Shown {
    id: ProductId,
    name: String,
    #[serde(rename = "type")]
    kind: ProductType,
    schema: Schema,
    /// Whether its devices may connect.
    enabled: bool,
    topics: Vec<topics::Shown>,
    created_at: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    enabled: bool,
}

impl Shown {
    fn new(broker: &Broker, product: Product) -> Self {
        Self {
            topics: topics::of(broker, &product.id),
            id: product.id,
            name: product.name,
            kind: product.kind,
            schema: Schema(product.schema),
            enabled: product.enabled,
            created_at: product.created_at,
        }
    }
}

async fn create(
    State(hub): State<Hub>,
    JsonBody(new): JsonBody<Create>,
) -> Result<(StatusCode, Json<Shown>), ApiError> {
    let new = NewProduct { id: new.id, name: new.name, kind: new.kind, schema: new.schema.0 };
    let product = products::create(&hub.broker, new).await?;
    Ok((StatusCode::CREATED, Json(Shown::new(&hub.broker, product))))
}

async fn list(State(hub): State<Hub>) -> Result<Json<List<Shown>>, ApiError> {
    let products = products::list(&hub.broker).await?;
    Ok(Json(List::whole(products.into_iter().map(|product| Shown::new(&hub.broker, product)).collect())))
}

async fn describe(State(hub): State<Hub>, PathParams(id): PathParams<ProductId>) -> Result<Json<Shown>, ApiError> {
    Ok(Json(Shown::new(&hub.broker, products::get(&hub.broker, &id)?)))
}

async fn change(
    State(hub): State<Hub>,
    PathParams(id): PathParams<ProductId>,
    JsonBody(Change { enabled }): JsonBody<Change>,
) -> Result<Json<Shown>, ApiError> {
    let product = products::set_enabled(&hub.broker, &id, enabled).await?;
    Ok(Json(Shown::new(&hub.broker, product)))
}

async fn remove(State(hub): State<Hub>, PathParams(id): PathParams<ProductId>) -> Result<StatusCode, ApiError> {
    products::delete(&hub.broker, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `{"temp":"number"}`, in the order written.
#[derive(Default)]
struct Schema(Vec<(String, FieldType)>);

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, kind)| (path, kind)))
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SchemaVisitor)
    }
}

struct SchemaVisitor;

impl<'de> Visitor<'de> for SchemaVisitor {
    type Value = Schema;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of paths and their types, as in {\"temp\":\"number\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Schema, A::Error> {
        let mut fields: Vec<(String, FieldType)> = Vec::new();
        while let Some(path) = map.next_key::<String>()? {
            if fields.iter().any(|(other, _)| *other == path) {
                return Err(A::Error::custom(format!("{path:?} is declared twice")));
            }
            fields.push((path, map.next_value()?));
        }
        Ok(Schema(fields))
    }
}

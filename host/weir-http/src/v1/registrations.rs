//! `/v1/products/{product}/registration`: whether a product's devices may register themselves, and by what secret.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use weir_broker::admin::registrations::{
    self, Registration, RegistrationChange, RegistrationCredential, RegistrationMode, SecretChange,
};
use weir_core::{ErrorKind, ProductId};

use crate::{
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams},
    router::{Hub, Route},
};

const REGISTRATION: &str = "/v1/products/{product}/registration";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get(Access::Administrator, REGISTRATION, show),
        Route::patch(Access::Administrator, REGISTRATION, change),
    ]
}

/// What is left out stays as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    mode: Option<RegistrationMode>,
    credential: Option<RegistrationCredential>,
    limit: Option<u32>,
    secret: Option<String>,
    #[serde(default)]
    new_secret: bool,
}

#[derive(Serialize)]
struct Shown {
    mode: RegistrationMode,
    /// What a device gets that does not say what it wants.
    credential: RegistrationCredential,
    /// Devices that registration may make, and those it made that are there.
    limit: u32,
    registered: u32,
    secret: String,
}

impl From<Registration> for Shown {
    fn from(registration: Registration) -> Self {
        let Registration { mode, credential, limit, registered, secret } = registration;
        Self { mode, credential, limit, registered, secret }
    }
}

async fn show(State(hub): State<Hub>, PathParams(product): PathParams<ProductId>) -> Result<Json<Shown>, ApiError> {
    match registrations::get(&hub.broker, &product)? {
        Some(registration) => Ok(Json(registration.into())),
        None => Err(ApiError::new(ErrorKind::NotFound, format!("product {product} has never let devices register"))),
    }
}

async fn change(
    State(hub): State<Hub>,
    PathParams(product): PathParams<ProductId>,
    JsonBody(Change { mode, credential, limit, secret, new_secret }): JsonBody<Change>,
) -> Result<Json<Shown>, ApiError> {
    let secret = match (secret, new_secret) {
        (Some(_), true) => return Err(ApiError::invalid("give either secret or new_secret")),
        (Some(secret), false) => SecretChange::Given(secret),
        (None, true) => SecretChange::New,
        (None, false) => SecretChange::Keep,
    };
    let change = RegistrationChange { mode, credential, limit, secret };
    Ok(Json(registrations::change(&hub.broker, &product, change).await?.into()))
}

//! `/v1/products/{product}/authorities`: authorities whose signature lets devices of the product in.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use weir_broker::admin::{
    authorities::{self, AuthorityRow},
    products,
};
use weir_core::{Fingerprint, ProductId, Timestamp};

use super::List;
use crate::{
    RegistrationProof,
    access::Access,
    error::ApiError,
    extract::{JsonBody, PathParams},
    router::{Hub, Route},
};

const COLLECTION: &str = "/v1/products/{product}/authorities";
const AUTHORITY: &str = "/v1/products/{product}/authorities/{fingerprint}";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get(Access::Administrator, "/v1/products/{product}/registration-code", code),
        Route::post(Access::Administrator, COLLECTION, create),
        Route::get(Access::Administrator, COLLECTION, list),
        Route::get(Access::Administrator, AUTHORITY, describe),
        Route::delete(Access::Administrator, AUTHORITY, remove),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    /// PEM.
    certificate: String,
    /// PEM: a certificate that the authority signed, whose common name is the registration code.
    proof: Option<String>,
    /// Do without the proof: the caller answers for it.
    #[serde(default)]
    trusted: bool,
}

#[derive(Deserialize)]
struct Named {
    product: ProductId,
    fingerprint: String,
}

#[derive(Serialize)]
struct Code {
    code: String,
}

#[derive(Serialize)]
struct Shown {
    product: ProductId,
    fingerprint: Fingerprint,
    subject: String,
    /// Whether who registered it proved to have its key.
    proved: bool,
    expires_at: Timestamp,
    created_at: Timestamp,
}

impl From<AuthorityRow> for Shown {
    fn from(row: AuthorityRow) -> Self {
        Self {
            product: row.product,
            fingerprint: row.fingerprint,
            subject: row.subject,
            proved: row.proved,
            expires_at: row.expires_at,
            created_at: row.created_at,
        }
    }
}

async fn code(State(hub): State<Hub>, PathParams(product): PathParams<ProductId>) -> Result<Json<Code>, ApiError> {
    products::get(&hub.broker, &product)?;
    Ok(Json(Code { code: hub.options.authority.registration_code(&product) }))
}

async fn create(
    State(hub): State<Hub>,
    PathParams(product): PathParams<ProductId>,
    JsonBody(Create { certificate, proof, trusted }): JsonBody<Create>,
) -> Result<(StatusCode, Json<Shown>), ApiError> {
    products::get(&hub.broker, &product)?;
    let proof = match (&proof, trusted) {
        (Some(proof), false) => RegistrationProof::Signed(proof),
        (None, true) => RegistrationProof::Trusted,
        (None, false) => RegistrationProof::None,
        (Some(_), true) => return Err(ApiError::invalid("give either a proof or trusted")),
    };
    let read = hub.options.authority.register(&product, &certificate, proof).map_err(ApiError::invalid)?;
    let new = AuthorityRow {
        product,
        fingerprint: read.fingerprint,
        anchor: read.anchor,
        certificate: read.certificate,
        subject: read.subject,
        proved: matches!(proof, RegistrationProof::Signed(_)),
        expires_at: read.expires_at,
        created_at: hub.broker.clock().now(),
    };
    authorities::create(&hub.broker, new.clone()).await?;
    Ok((StatusCode::CREATED, Json(new.into())))
}

async fn list(
    State(hub): State<Hub>,
    PathParams(product): PathParams<ProductId>,
) -> Result<Json<List<Shown>>, ApiError> {
    let rows = authorities::list(&hub.broker, &product)?;
    Ok(Json(List::whole(rows.into_iter().map(Shown::from).collect())))
}

async fn describe(
    State(hub): State<Hub>,
    PathParams(Named { product, fingerprint }): PathParams<Named>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(authorities::get(&hub.broker, &product, &fingerprint.parse()?)?.into()))
}

async fn remove(
    State(hub): State<Hub>,
    PathParams(Named { product, fingerprint }): PathParams<Named>,
) -> Result<StatusCode, ApiError> {
    authorities::delete(&hub.broker, &product, &fingerprint.parse()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! What handlers take from a request. Whatever is wrong with it is an [`ApiError`] that names the field.

use std::{error::Error, time::Duration};

use axum::{
    body::HttpBody,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request, path::ErrorKind as PathError, rejection::PathRejection,
    },
    http::{Uri, request::Parts},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use weir_core::ErrorKind;

use crate::{error::ApiError, router::Hub};

/// A JSON document. An absent body is the empty document, and the content type is not asked for: a bearer key is never
/// sent by a browser on its own, so no form of another site can pass for a document.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Hub> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, hub: &Hub) -> Result<Self, ApiError> {
        let body = read(request, hub.options.limits.body, hub.options.limits.body_time).await?;
        parse_json(&body).map(Self)
    }
}

/// A JSON document that carries a message: there is room for the largest payload, as text or as base64.
pub(crate) struct MessageBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Hub> for MessageBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, hub: &Hub) -> Result<Self, ApiError> {
        let limit = hub.options.limits.body.max(hub.broker.limits().payload.saturating_mul(2));
        let body = read(request, limit, hub.options.limits.body_time).await?;
        parse_json(&body).map(Self)
    }
}

/// The body as it is.
pub(crate) struct RawBody(pub(crate) Bytes);

impl FromRequest<Hub> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, hub: &Hub) -> Result<Self, ApiError> {
        read(request, hub.options.limits.body, hub.options.limits.body_time).await.map(Self)
    }
}

/// A plugin's component, as it is.
pub(crate) struct ComponentBody(pub(crate) Bytes);

impl FromRequest<Hub> for ComponentBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, hub: &Hub) -> Result<Self, ApiError> {
        read(request, hub.options.limits.component, hub.options.limits.body_time).await.map(Self)
    }
}

/// The names in the path, checked.
pub(crate) struct PathParams<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Hub> for PathParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, hub).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(match error.into_kind() {
                PathError::DeserializeError { message, .. } | PathError::Message(message) => ApiError::invalid(message),
                error => ApiError::invalid(format!("the path is not valid: {error}")),
            }),
            Err(error) => Err(ApiError::new(ErrorKind::Internal, error.to_string())),
        }
    }
}

/// The part of the URL after `?`.
pub(crate) struct QueryParams<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Hub> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _hub: &Hub) -> Result<Self, ApiError> {
        query(&parts.uri).map(Self)
    }
}

pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    // Forms write a space as '+', but here a '+' is nearly always the wildcard of a filter that somebody typed.
    let query = uri.query().unwrap_or_default().replace('+', "%2B");
    let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
    let uri = uri.map_err(|error| ApiError::invalid(format!("the query string is not valid: {error}")))?;
    match Query::try_from_uri(&uri) {
        Ok(Query(value)) => Ok(value),
        Err(error) => Err(ApiError::invalid(format!("the query string is not valid: {}", reason(&error)))),
    }
}

pub(crate) async fn read(request: Request, limit: usize, time: Duration) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(ErrorKind::TooLarge, format!("the body exceeds the limit of {limit} bytes"));
    let body = request.into_body();
    // A length that was announced is refused before a byte of it is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collect = async {
        let mut collected = BytesMut::new();
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
            if collected.len().saturating_add(chunk.len()) > limit {
                return Err(too_large());
            }
            collected.extend_from_slice(&chunk);
        }
        Ok(collected.freeze())
    };
    match tokio::time::timeout(time, collect).await {
        Ok(collected) => collected,
        Err(_) => Err(ApiError::invalid(format!("the body did not arrive within {} seconds", time.as_secs()))),
    }
}

pub(crate) fn parse_json<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    let document: &[u8] = if body.is_empty() { b"{}" } else { body };
    // Axum keeps account of the path to each value, for the error. That costs as much again as reading.
    if let Ok(value) = serde_json::from_slice(document) {
        return Ok(value);
    }
    match axum::Json::from_bytes(document) {
        Ok(axum::Json(value)) => Ok(value),
        Err(error) => Err(ApiError::invalid(format!("the body is not valid: {}", reason(&error)))),
    }
}

/// Axum says that deserialising failed; its source says where and why.
fn reason(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

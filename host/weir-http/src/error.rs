//! The one table from error kinds to HTTP status codes, and the body that goes with them.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use weir_core::{Classify, ErrorKind};

/// An answer that is not the one that was asked for.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Throttled => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn body(&self) -> serde_json::Value {
        json!({ "error": self.detail() })
    }

    /// What the body says of it; also for one failure among many in a body of its own.
    pub(crate) fn detail(&self) -> serde_json::Value {
        json!({ "kind": self.kind.as_str(), "message": self.message })
    }

    /// The answer with another status than the table's; only for what HTTP itself distinguishes.
    pub(crate) fn with_status(&self, status: StatusCode) -> Response {
        let mut response = (status, Json(self.body())).into_response();
        // The outermost layer counts refusals by kind.
        response.extensions_mut().insert(self.kind);
        response
    }
}

impl<E: Classify> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.kind == ErrorKind::Internal {
            tracing::error!(error = %self.message, "a request failed by a defect of the hub");
        }
        let mut response = self.with_status(status(self.kind));
        if self.kind == ErrorKind::Unauthenticated {
            // RFC 9110 §11.6.1: a 401 says which scheme is wanted.
            let challenge = HeaderValue::from_static("Bearer realm=\"weir\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

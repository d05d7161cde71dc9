//! `{"Response":{…,"RequestId":"…"}}`: what the gateway says, and the one table from error kinds to the vendor's codes.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use weir_core::ErrorKind;

use crate::error::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<T> {
    response: Numbered<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Numbered<T> {
    #[serde(flatten)]
    answer: T,
    /// Stands in the hub's log too, where it is said why something was refused.
    request_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refused<'a> {
    error: Told<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told<'a> {
    code: &'static str,
    message: &'a str,
}

pub(super) fn answer<T: Serialize>(outcome: Result<T, ApiError>) -> Response {
    match outcome {
        Ok(answer) => Json(Envelope { response: Numbered { answer, request_id: request_id() } }).into_response(),
        Err(error) => refusal(&error).into_response(),
    }
}

pub(super) fn refusal(error: &ApiError) -> impl IntoResponse + use<> {
    let request_id = request_id();
    log(error, &request_id);
    let answer = Refused { error: Told { code: code(error.kind), message: &error.message } };
    Json(serde_json::json!(Envelope { response: Numbered { answer, request_id } }))
}

/// What went wrong, for whoever looks for the reason on the hub's side.
pub(super) fn log(error: &ApiError, request_id: &str) {
    if error.kind == ErrorKind::Internal {
        tracing::error!(error = %error.message, request_id, "a request of a device failed by a defect of the hub");
    } else {
        tracing::debug!(reason = %error.message, request_id, "a request of a device was refused");
    }
}

fn code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "InvalidParameterValue",
        ErrorKind::Unauthenticated => "AuthFailure.SignatureFailure",
        ErrorKind::Forbidden => "UnauthorizedOperation.PermissionDenied",
        ErrorKind::NotFound => "ResourceNotFound.DeviceNotExist",
        ErrorKind::Conflict => "FailedOperation",
        ErrorKind::TooLarge => "InvalidParameterValue.PayloadOverLimit",
        ErrorKind::Throttled => "LimitExceeded",
        ErrorKind::Unavailable => "InternalError.DBOperationError",
        ErrorKind::Internal => "InternalError",
    }
}

/// A random UUID (RFC 9562 §5.4). Without random numbers, which the system always has, all are the same.
fn request_id() -> String {
    let mut bytes = [0; 16];
    let _random = getrandom::fill(&mut bytes);
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| digits.get(part).unwrap_or_default()).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_uuid() {
        let id = request_id();
        let shape: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(shape, [8, 4, 4, 4, 12]);
        assert!(id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_ne!(id, request_id());
    }
}

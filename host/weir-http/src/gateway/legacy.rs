//! `/register/dev`: the form of registration that the vendor's older C SDK speaks (vendor protocol §4). The signature is in
//! the body, over four of its fields.
//!
//! The SDK has room for 256 bytes of answer where it wants a key, so an answer is as short as can be.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::Request,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use weir_broker::{SignedRegistration, SigningMethod};
use weir_core::{DeviceId, DeviceName, ProductId};

use super::{
    Gate, Peer,
    answer::log,
    body::{admitted, document},
    payload::Payload,
    register::credentials,
};
use crate::error::{ApiError, status};

/// Characters of a refusal's message.
const MESSAGE: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    product_id: ProductId,
    device_name: DeviceName,
    nonce: i64,
    timestamp: i64,
    signature: String,
}

#[derive(Serialize)]
struct Answer {
    /// 0, or the HTTP status that would say the same: the vendor's numbers are not known.
    code: u16,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    len: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

pub(super) async fn register(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Response {
    let outcome = register_signed(&gate, peer, request).await;
    let answer = match gate.counted(outcome) {
        Ok(Payload { length, text }) => {
            Answer { code: 0, message: String::new(), len: Some(length), payload: Some(text) }
        }
        Err(error) => {
            log(&error, "");
            let message = error.message.chars().take(MESSAGE).collect();
            Answer { code: status(error.kind).as_u16(), message, len: None, payload: None }
        }
    };
    Json(answer).into_response()
}

async fn register_signed(gate: &Gate, peer: Peer, request: Request<Body>) -> Result<Payload, ApiError> {
    let body = admitted(gate, peer, request).await?;
    let Registration { product_id, device_name, nonce, timestamp, signature } = document(&body)?;
    let text = format!("deviceName={device_name}&nonce={nonce}&productId={product_id}&timestamp={timestamp}");
    let request = SignedRegistration {
        device: DeviceId { product: product_id, device: device_name },
        credential: None,
        method: SigningMethod::HmacSha1,
        texts: vec![text],
        signature: tag(&signature).ok_or_else(|| ApiError::invalid("signature: it is not hexadecimal in base64"))?,
    };
    let registered = gate.broker.register(request).await?;
    credentials(gate, &registered).await?.encrypt(&registered.secret)
}

/// Base64 of hexadecimal digits.
fn tag(signature: &str) -> Option<Vec<u8>> {
    let digits = STANDARD.decode(signature).ok()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read() {
        let check = |text: &str, expected: Option<&[u8]>| assert_eq!(tag(&STANDARD.encode(text)).as_deref(), expected);
        check("00ff1A", Some(&[0, 255, 26]));
        check("0", None);
        check("0g", None);
        assert_eq!(tag("?"), None);
    }
}

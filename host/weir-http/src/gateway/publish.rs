//! `/device/publish` and `/device/reportlog`: what the vendor's devices say over HTTP (vendor protocol §3.2), signed with
//! their key.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, http::Request, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use weir_broker::SignedRequest;
use weir_core::{DeviceId, DeviceName, Envelope, Principal, ProductId, Protocol, Qos};

use super::{
    Gate, Peer,
    answer::answer,
    body::{admitted, document},
    signature::{Signature, signature},
};
use crate::error::ApiError;

/// Lines of one report.
const LINES: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    product_id: ProductId,
    device_name: DeviceName,
    topic_name: String,
    payload: String,
    #[serde(default)]
    qos: u8,
    payload_encoding: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    product_id: ProductId,
    device_name: DeviceName,
    message: Vec<String>,
}

/// Nothing but the number of the request.
#[derive(Serialize)]
struct Done {}

/// A document that says whose it is.
trait OfDevice {
    fn device(&self) -> DeviceId;
}

impl OfDevice for Message {
    fn device(&self) -> DeviceId {
        DeviceId { product: self.product_id.clone(), device: self.device_name.clone() }
    }
}

impl OfDevice for Report {
    fn device(&self) -> DeviceId {
        DeviceId { product: self.product_id.clone(), device: self.device_name.clone() }
    }
}

pub(super) async fn publish(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Response {
    let outcome = publish_signed(&gate, peer, request).await;
    answer(gate.counted(outcome))
}

async fn publish_signed(gate: &Gate, peer: Peer, request: Request<Body>) -> Result<Done, ApiError> {
    let (principal, message) = signed::<Message>(gate, peer, request).await?;
    let payload = match message.payload_encoding.as_deref() {
        None | Some("") => message.payload.clone().into_bytes(),
        Some(encoding) if encoding.eq_ignore_ascii_case("base64") => {
            STANDARD.decode(&message.payload).map_err(|error| ApiError::invalid(format!("Payload: {error}")))?
        }
        Some(_) => return Err(ApiError::invalid("PayloadEncoding: it may be base64, or left out")),
    };
    let qos = Qos::from_u8(message.qos).filter(|qos| *qos <= Qos::AtLeastOnce);
    let qos = qos.ok_or_else(|| ApiError::invalid("Qos: use 0 or 1"))?;
    // Some name the whole topic, and some what comes after product and device.
    let own = format!("{}/", message.device());
    let topic = match message.topic_name.as_str() {
        whole if whole.starts_with(&own) || whole.starts_with('$') => whole.to_owned(),
        rest => format!("{own}{rest}"),
    };
    let publisher = principal.to_string();
    let envelope = Envelope::new(&topic, &publisher, Protocol::Http, qos, &payload);
    gate.broker.publish_visiting(&principal, envelope).await?;
    Ok(Done {})
}

pub(super) async fn report_log(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Response {
    let outcome = report_signed(&gate, peer, request).await;
    answer(gate.counted(outcome))
}

async fn report_signed(gate: &Gate, peer: Peer, request: Request<Body>) -> Result<Done, ApiError> {
    let (principal, report) = signed::<Report>(gate, peer, request).await?;
    if report.message.len() > LINES {
        return Err(ApiError::invalid(format!("Message: at most {LINES} lines come at once")));
    }
    gate.broker.report_log(&principal, &report.message).await?;
    Ok(Done {})
}

/// Reads a document, and proves the device that it names by the signature over it.
async fn signed<T: DeserializeOwned + OfDevice>(
    gate: &Gate,
    peer: Peer,
    request: Request<Body>,
) -> Result<(Principal, T), ApiError> {
    let (headers, path) = (request.headers().clone(), request.uri().path().to_owned());
    let body = admitted(gate, peer, request).await?;
    let Signature { method, texts, bytes } = signature(&headers, &path, &body)?;
    let document: T = document(&body)?;
    let request = SignedRequest { device: document.device(), method, texts, signature: bytes };
    Ok((gate.broker.verify(&request)?, document))
}

//! Publishing: one message as a body, or many as lines.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{Request, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use weir_core::{DeviceId, DeviceName, Envelope, Offset, Principal, ProductId, Protocol, Qos};

use super::{Named, credentials::prove};
use crate::{
    error::ApiError,
    extract::read,
    gateway::{Gate, Peer, Proved},
};

#[derive(Deserialize)]
pub(super) struct To {
    product: ProductId,
    device: DeviceName,
    topic: String,
}

#[derive(Serialize)]
struct Published {
    offset: Offset,
}

/// One message of many.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    /// After `PRODUCT/DEVICE/`.
    topic: String,
    /// Any JSON, which is the payload as it stands here.
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    payload_base64: Option<String>,
    #[serde(default = "acknowledged")]
    qos: u8,
}

#[derive(Serialize)]
struct PublishedMany {
    published: usize,
    /// Those that were not, by their line, from 1. The others are.
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Failed {
    line: usize,
    error: serde_json::Value,
}

fn acknowledged() -> u8 {
    1
}

pub(super) async fn publish(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    Extension(proved): Extension<Proved>,
    Named(To { product, device, topic }): Named<To>,
    request: Request<Body>,
) -> Response {
    let device = DeviceId { product, device };
    let published = publish_one(&gate, peer, proved, &device, &topic, request).await;
    gate.counted(published).into_response()
}

async fn publish_one(
    gate: &Gate,
    peer: Peer,
    proved: Proved,
    device: &DeviceId,
    topic: &str,
    request: Request<Body>,
) -> Result<Json<Published>, ApiError> {
    let principal = prove(gate, peer, proved, request.headers(), device)?.principal;
    let qos = match request.uri().query() {
        None | Some("" | "qos=1") => Qos::AtLeastOnce,
        Some("qos=0") => Qos::AtMostOnce,
        Some(_) => return Err(ApiError::invalid("the query: it may be qos=0 or qos=1")),
    };
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.map(str::to_owned);
    let body = read(request, gate.broker.limits().payload, gate.limits.body_time).await?;
    let offset = send(gate, &principal, device, topic, qos, &body, content_type.as_deref()).await?;
    Ok(Json(Published { offset }))
}

async fn send(
    gate: &Gate,
    principal: &Principal,
    device: &DeviceId,
    topic: &str,
    qos: Qos,
    payload: &[u8],
    content_type: Option<&str>,
) -> Result<Offset, ApiError> {
    let (topic, publisher) = (format!("{device}/{topic}"), principal.to_string());
    let mut envelope = Envelope::new(&topic, &publisher, Protocol::Http, qos, payload);
    envelope.content_type = content_type;
    Ok(gate.broker.publish_visiting(principal, envelope).await?)
}

pub(super) async fn publish_many(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    Extension(proved): Extension<Proved>,
    Named(device): Named<DeviceId>,
    request: Request<Body>,
) -> Response {
    let published = publish_lines(&gate, peer, proved, &device, request).await;
    gate.counted(published).into_response()
}

async fn publish_lines(
    gate: &Gate,
    peer: Peer,
    proved: Proved,
    device: &DeviceId,
    request: Request<Body>,
) -> Result<Json<PublishedMany>, ApiError> {
    let principal = prove(gate, peer, proved, request.headers(), device)?.principal;
    let body = read(request, gate.limits.batch, gate.limits.body_time).await?;
    let lines = body.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.trim_ascii().is_empty());
    let (mut published, mut failed, mut last) = (0, Vec::new(), None);
    for (line, number) in lines {
        match append(gate, &principal, device, line).await {
            Ok((offset, qos)) => {
                published += 1;
                last = last.max((qos > Qos::AtMostOnce).then_some(offset));
            }
            Err(error) => failed.push(Failed { line: number, error: error.detail() }),
        }
    }
    if let Some(offset) = last {
        // One wait for all: what is durable up to the last is so for each.
        let durable = gate.broker.log().durable();
        durable.wait_for(offset).await.map_err(|_| weir_broker::PublishError::Failed)?;
    }
    Ok(Json(PublishedMany { published, failed }))
}

/// Appends one line's message, which is not durable yet.
async fn append(gate: &Gate, principal: &Principal, device: &DeviceId, line: &[u8]) -> Result<(Offset, Qos), ApiError> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| ApiError::invalid(error.to_string()))?;
    let qos = Qos::from_u8(line.qos).filter(|qos| *qos <= Qos::AtLeastOnce);
    let qos = qos.ok_or_else(|| ApiError::invalid("qos: a message is published here with 0 or 1"))?;
    let payload = match (line.payload, line.payload_base64) {
        (Some(payload), None) => payload.get().as_bytes().to_vec(),
        (None, Some(text)) => {
            STANDARD.decode(text).map_err(|error| ApiError::invalid(format!("payload_base64: {error}")))?
        }
        _ => return Err(ApiError::invalid("give either payload or payload_base64")),
    };
    let (topic, publisher) = (format!("{device}/{}", line.topic), principal.to_string());
    let envelope = Envelope::new(&topic, &publisher, Protocol::Http, qos, &payload);
    Ok((gate.broker.append_visiting(principal, envelope).await?, qos))
}

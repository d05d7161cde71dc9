//! `/device/register`: a device that knows its product's secret gets its own (vendor protocol §4).
//!
//! A device may ask for a certificate in place of a key, and may bring one of its own: then it is made, if its product
//! makes devices, and its certificate is believed if an authority of its product signed it.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, http::Request, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_broker::{Registered, SignedRegistration, admin::registrations::RegistrationCredential};
use weir_core::{DeviceId, DeviceName, ProductId};

use super::{
    Gate, Peer,
    answer::answer,
    body::{admitted, document},
    payload::{Credentials, Payload},
    signature::{Signature, signature},
};
use crate::{error::ApiError, issue::issue};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Registration {
    product_id: ProductId,
    device_name: DeviceName,
    /// 1 or 2, as a number or as text.
    encryption_type: Option<Value>,
    client_cert: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    len: usize,
    payload: String,
}

pub(super) async fn register(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Response {
    let outcome = register_signed(&gate, peer, request).await;
    answer(gate.counted(outcome))
}

async fn register_signed(gate: &Gate, peer: Peer, request: Request<Body>) -> Result<Answer, ApiError> {
    let (headers, path) = (request.headers().clone(), request.uri().path().to_owned());
    let body = admitted(gate, peer, request).await?;
    let Signature { method, texts, bytes } = signature(&headers, &path, &body)?;
    let Registration { product_id, device_name, encryption_type, client_cert } = document(&body)?;
    let credential = match client_cert {
        // Whoever brings a certificate means to come with it.
        Some(_) => Some(RegistrationCredential::Certificate),
        None => encryption_type.map(|wanted| wanted_credential(&wanted)).transpose()?,
    };
    if let Some(certificate) = &client_cert {
        gate.authority.read(certificate).map_err(|reason| ApiError::invalid(format!("ClientCert: {reason}")))?;
    }
    let request = SignedRegistration {
        device: DeviceId { product: product_id, device: device_name },
        credential,
        method,
        texts,
        signature: bytes,
    };
    let registered = gate.broker.register(request).await?;
    let Payload { length, text } = match client_cert {
        Some(own) => Credentials::certificate(own, String::new()).encrypt(&registered.secret)?,
        None => credentials(gate, &registered).await?.encrypt(&registered.secret)?,
    };
    Ok(Answer { len: length, payload: text })
}

/// What a device gets that brought nothing.
pub(super) async fn credentials(gate: &Gate, registered: &Registered) -> Result<Credentials, ApiError> {
    match registered.credential {
        RegistrationCredential::Key => Ok(Credentials::key(registered)),
        RegistrationCredential::Certificate => {
            let issued = issue(&gate.broker, &gate.authority, &registered.device.id, None).await?;
            Ok(Credentials::certificate(issued.certificate, issued.private_key))
        }
    }
}

fn wanted_credential(wanted: &Value) -> Result<RegistrationCredential, ApiError> {
    match wanted.as_u64().or_else(|| wanted.as_str()?.parse().ok()) {
        Some(1) => Ok(RegistrationCredential::Certificate),
        Some(2) => Ok(RegistrationCredential::Key),
        _ => Err(ApiError::invalid("EncryptionType: use 1 for a certificate or 2 for a key")),
    }
}

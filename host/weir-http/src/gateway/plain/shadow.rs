//! The shadow of the device that asks. A change is answered when it was applied, in the order of all others.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, Uri},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use weir_broker::ShadowUpdate;
use weir_core::{DeviceId, ShadowName, shadow};

use super::{Named, credentials::prove};
use crate::{
    error::ApiError,
    extract::{parse_json, query, read},
    gateway::{Gate, Peer, Proved},
    v1::shadows::check,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Without it, the classic one.
    name: Option<ShadowName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// `reported` and `desired`; `null` for a key deletes it, `null` for all of one clears that.
    state: Map<String, Value>,
    /// The version that the shadow must have; 0: any.
    #[serde(default)]
    version: u64,
}

pub(super) async fn describe(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    Extension(proved): Extension<Proved>,
    Named(device): Named<DeviceId>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let described = async {
        let principal = prove(&gate, peer, proved, &headers, &device)?.principal;
        let Which { name } = query(&uri)?;
        let shadow = gate.broker.shadow(&principal, &device, name.as_ref()).await?;
        Ok::<_, ApiError>(Json(shadow::document_value(&shadow.document)))
    };
    gate.counted(described.await).into_response()
}

/// Replaces the parts that are given.
pub(super) async fn replace(
    gate: State<Arc<Gate>>,
    peer: Extension<Peer>,
    proved: Extension<Proved>,
    device: Named<DeviceId>,
    request: Request<Body>,
) -> Response {
    update(gate, peer, proved, device, request, true).await
}

/// Merges.
pub(super) async fn change(
    gate: State<Arc<Gate>>,
    peer: Extension<Peer>,
    proved: Extension<Proved>,
    device: Named<DeviceId>,
    request: Request<Body>,
) -> Response {
    update(gate, peer, proved, device, request, false).await
}

async fn update(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    Extension(proved): Extension<Proved>,
    Named(device): Named<DeviceId>,
    request: Request<Body>,
    overwrite: bool,
) -> Response {
    let updated = async {
        let principal = prove(&gate, peer, proved, request.headers(), &device)?.principal;
        let Which { name } = query(request.uri())?;
        let body =
            read(request, gate.limits.body.max(gate.broker.limits().shadow_bytes * 2), gate.limits.body_time).await?;
        let Change { state, version } = parse_json(&body)?;
        check(&state)?;
        let update = ShadowUpdate { device: device.clone(), name, state, version, overwrite };
        let shadow = gate.broker.update_shadow_visiting(&principal, update, body.len()).await?;
        Ok::<_, ApiError>(Json(shadow::document_value(&shadow.document)))
    };
    gate.counted(updated.await).into_response()
}

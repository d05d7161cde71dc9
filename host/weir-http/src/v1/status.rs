//! `/v1/status`: the hub at a glance.

use axum::{Json, extract::State};
use serde::Serialize;
use weir_core::{Offset, Timestamp, history::LakeStatus};

use crate::{
    Endpoint,
    access::Access,
    router::{Hub, Route},
};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get(Access::Administrator, "/v1/status", status)]
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    started_at: Timestamp,
    draining: bool,
    /// Where devices connect.
    listeners: Listeners,
    log: LogStatus,
    /// Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    lake: Option<LakeStatus>,
    /// How many are open.
    sessions: usize,
    /// How many there are.
    rules: usize,
}

#[derive(Serialize)]
struct Listeners {
    mqtt: String,
    mqtts: Option<String>,
    ws: String,
    wss: Option<String>,
}

#[derive(Serialize)]
struct LogStatus {
    oldest: Offset,
    appended: Offset,
    durable: Offset,
    segments: u64,
    bytes: u64,
    /// Since start.
    records: u64,
    /// Since start.
    syncs: u64,
    failed: bool,
}

async fn status(State(hub): State<Hub>) -> Json<Status> {
    let log = hub.broker.log();
    let stats = log.stats();
    Json(Status {
        version: hub.options.version,
        started_at: hub.started_at,
        draining: hub.broker.draining(),
        listeners: Listeners {
            mqtt: hub.options.mqtt.to_string(),
            mqtts: hub.options.mqtts.as_ref().map(Endpoint::to_string),
            ws: hub.options.ws.to_string(),
            wss: hub.options.wss.as_ref().map(Endpoint::to_string),
        },
        log: LogStatus {
            oldest: log.oldest(),
            appended: log.appended(),
            durable: log.durable().get(),
            segments: stats.segments as u64,
            bytes: stats.bytes,
            records: stats.records,
            syncs: stats.syncs,
            failed: stats.failed,
        },
        lake: hub.options.lake.as_ref().map(|lake| lake.status()),
        sessions: hub.broker.session_count(),
        rules: hub.broker.rules().statuses().len(),
    })
}

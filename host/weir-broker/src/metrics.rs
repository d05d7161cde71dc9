//! Counters, with their names in one place. Prometheus text is made from the registry here.
//!
//! What is counted per rule and session is also in their ledgers, which are exact over a crash; these counters start at
//! zero with each process.

use std::sync::{Arc, atomic::AtomicU64};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use weir_core::{ErrorKind, Protocol, Qos};

use crate::inbox::ledger::Dropped;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Accepted {
    protocol: &'static str,
    qos: u8,
}

/// Something was refused: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    operation: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ActionLabels {
    pub(crate) rule: String,
    pub(crate) action: u32,
    pub(crate) target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionCount {
    rule: String,
    action: u32,
    target: String,
    outcome: &'static str,
}

/// Every metric of the hub. Cloning shares it.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    accepted: Family<Accepted, Counter>,
    /// The counters of `accepted` by protocol and QoS, so that the main path looks nothing up.
    accepted_fast: [[Counter; 3]; Protocol::ALL.len()],
    accepted_bytes: Counter,
    refused: Family<Refused, Counter>,
    connections: Gauge,
    sessions: Gauge,
    sessions_kept: Gauge,
    retained: Gauge,
    sub_devices: Gauge,
    enqueued: Counter,
    acknowledged: Counter,
    expired: Counter,
    dropped: Family<Reason, Counter>,
    shadow_changes: Counter,
    shadow_lag: Gauge<u64, AtomicU64>,
    action_rows: Family<ActionCount, Gauge<u64, AtomicU64>>,
    action_messages: Family<ActionCount, Gauge<u64, AtomicU64>>,
    action_lag: Family<ActionLabels, Gauge<f64, AtomicU64>>,
    log_bytes: Gauge<u64, AtomicU64>,
    log_segments: Gauge<u64, AtomicU64>,
    log_records: Gauge<u64, AtomicU64>,
    log_syncs: Gauge<u64, AtomicU64>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let accepted = Family::<Accepted, Counter>::default();
        let accepted_fast = Protocol::ALL.map(|protocol| {
            [0, 1, 2].map(|qos| accepted.get_or_create(&Accepted { protocol: protocol.as_str(), qos }).clone())
        });
        let inner = Inner {
            registry: Mutex::default(),
            accepted,
            accepted_fast,
            accepted_bytes: Counter::default(),
            refused: Family::default(),
            connections: Gauge::default(),
            sessions: Gauge::default(),
            sessions_kept: Gauge::default(),
            retained: Gauge::default(),
            sub_devices: Gauge::default(),
            enqueued: Counter::default(),
            acknowledged: Counter::default(),
            expired: Counter::default(),
            dropped: Family::default(),
            shadow_changes: Counter::default(),
            shadow_lag: Gauge::default(),
            action_rows: Family::default(),
            action_messages: Family::default(),
            action_lag: Family::default(),
            log_bytes: Gauge::default(),
            log_segments: Gauge::default(),
            log_records: Gauge::default(),
            log_syncs: Gauge::default(),
        };
        let metrics = Self(Arc::new(inner));
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let m = &self.0;
        let mut registry = Registry::with_prefix("weir");
        let r = &mut registry;
        r.register("messages_accepted", "Messages appended to the log", m.accepted.clone());
        r.register("payload_accepted_bytes", "Payload bytes appended to the log", m.accepted_bytes.clone());
        r.register("refused", "Requests refused, by operation and reason", m.refused.clone());
        r.register("connections", "Open device and application connections", m.connections.clone());
        r.register("sessions", "Sessions whose client is connected", m.sessions.clone());
        r.register("sessions_kept", "Sessions that outlive their connections", m.sessions_kept.clone());
        r.register("retained_messages", "Retained messages", m.retained.clone());
        r.register("sub_devices_online", "Devices that are online through a gateway", m.sub_devices.clone());
        r.register("session_enqueued", "Messages put into inboxes", m.enqueued.clone());
        r.register("session_acknowledged", "Messages that their session has done with", m.acknowledged.clone());
        r.register("session_expired", "Messages that expired in inboxes", m.expired.clone());
        r.register("session_dropped", "Messages dropped from inboxes, by reason", m.dropped.clone());
        r.register("shadow_changes", "Changes of shadows that were applied", m.shadow_changes.clone());
        r.register("shadow_lag", "Durable records that shadows have not looked at", m.shadow_lag.clone());
        r.register(
            "action_rows",
            "Rows of an action: produced = delivered + dead_lettered + expired + pending",
            m.action_rows.clone(),
        );
        r.register(
            "action_messages",
            "Messages an action's cursor has passed: read = matched + unmatched + failed",
            m.action_messages.clone(),
        );
        r.register("action_lag_seconds", "Age of the oldest message an action has not settled", m.action_lag.clone());
        r.register("log_bytes", "Bytes in log segments", m.log_bytes.clone());
        r.register("log_segments", "Log segments", m.log_segments.clone());
        r.register("log_records", "Records appended since start", m.log_records.clone());
        r.register("log_syncs", "Syncs since start", m.log_syncs.clone());
        *m.registry.lock() = registry;
    }

    /// The Prometheus text format, version 0.0.4 compatible.
    pub fn encode(&self, log: &weir_log::Log) -> String {
        let stats = log.stats();
        self.0.log_bytes.set(stats.bytes);
        self.0.log_segments.set(stats.segments as u64);
        self.0.log_records.set(stats.records);
        self.0.log_syncs.set(stats.syncs);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _written = encode(&mut text, &self.0.registry.lock());
        text
    }

    pub(crate) fn accepted(&self, protocol: Protocol, qos: Qos, bytes: usize) {
        let counter = self.0.accepted_fast.get(protocol as usize).and_then(|by_qos| by_qos.get(qos as usize));
        if let Some(counter) = counter {
            counter.inc();
        }
        self.0.accepted_bytes.inc_by(bytes as u64);
    }

    /// Counts a refusal. Front-ends count here what they refuse before the broker sees it.
    pub fn refused(&self, operation: &'static str, kind: ErrorKind) {
        self.refused_for(operation, kind.as_str());
    }

    /// Counts a refusal with a reason of the front-end's own, such as `malformed_packet`.
    pub fn refused_for(&self, operation: &'static str, reason: &'static str) {
        self.0.refused.get_or_create(&Refused { operation, reason }).inc();
    }

    pub fn connection_opened(&self) {
        self.0.connections.inc();
    }

    pub fn connection_closed(&self) {
        self.0.connections.dec();
    }

    pub(crate) fn sessions(&self, count: usize) {
        self.0.sessions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sessions that outlive their connections, and retained messages.
    pub(crate) fn kept(&self, sessions: usize, retained: usize) {
        self.0.sessions_kept.set(i64::try_from(sessions).unwrap_or(i64::MAX));
        self.0.retained.set(i64::try_from(retained).unwrap_or(i64::MAX));
    }

    /// To be set by who knows them.
    pub(crate) fn sub_devices_online(&self) -> Gauge {
        self.0.sub_devices.clone()
    }

    pub(crate) fn enqueued(&self, count: u64) {
        self.0.enqueued.inc_by(count);
    }

    pub(crate) fn acknowledged(&self, count: u64) {
        self.0.acknowledged.inc_by(count);
    }

    pub(crate) fn expired(&self, count: u64) {
        self.0.expired.inc_by(count);
    }

    pub(crate) fn dropped(&self, reason: Dropped, count: u64) {
        if count > 0 {
            self.0.dropped.get_or_create(&Reason { reason: reason.as_str() }).inc_by(count);
        }
    }

    pub(crate) fn shadow_changed(&self) {
        self.0.shadow_changes.inc();
    }

    pub(crate) fn shadow_lag(&self, records: u64) {
        self.0.shadow_lag.set(records);
    }

    pub(crate) fn action(&self, labels: &ActionLabels, status: &crate::ActionStatus) {
        for (outcome, value) in [
            ("produced", status.produced),
            ("delivered", status.delivered),
            ("dead_lettered", status.dead_lettered),
            ("expired", status.expired),
            ("pending", status.pending),
        ] {
            self.0.action_rows.get_or_create(&count(labels, outcome)).set(value);
        }
        for (outcome, value) in [
            ("read", status.read),
            ("matched", status.matched),
            ("unmatched", status.unmatched),
            ("failed", status.failed),
        ] {
            self.0.action_messages.get_or_create(&count(labels, outcome)).set(value);
        }
        self.0.action_lag.get_or_create(labels).set(status.lag_ms as f64 / 1_000.0);
    }

    pub(crate) fn forget_action(&self, labels: &ActionLabels) {
        for outcome in ["produced", "delivered", "dead_lettered", "expired", "pending"] {
            self.0.action_rows.remove(&count(labels, outcome));
        }
        for outcome in ["read", "matched", "unmatched", "failed"] {
            self.0.action_messages.remove(&count(labels, outcome));
        }
        self.0.action_lag.remove(labels);
    }
}

fn count(labels: &ActionLabels, outcome: &'static str) -> ActionCount {
    ActionCount { rule: labels.rule.clone(), action: labels.action, target: labels.target.clone(), outcome }
}

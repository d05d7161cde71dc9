//! A component of world `sink` as a target.

use std::sync::Arc;

use tokio::sync::Mutex;
use wasmtime::{Store, component::ResourceAny};
use weir_core::seams::{
    BoxFuture, Delivery, Outcome, SettingError, SettingSpec, SettingValue, Settings, Target, TargetContext, TargetKind,
};

use super::{
    batch::batch,
    columns::{self, Columns},
};
use crate::{
    bindings::sink::{Sink, SinkPre, exports::weir::plugin::sinks},
    capability::said,
    component::{Version, World},
    fault::{Cause, Fault},
    host::{Inner, Slot},
    instance::{self, State, Use},
};

/// Bytes of payload that go into one call: what a guest holds must have room in its memory.
const CALL_BYTES: usize = 4 << 20;

/// Faults after which a write is no longer taken apart to find the rows that cause them.
const FAULTS: usize = 32;

const REASON_BYTES: usize = 1 << 10;

pub(crate) struct SinkKind {
    inner: Arc<Inner>,
    slot: Arc<Slot>,
    name: String,
}

impl SinkKind {
    pub(crate) fn new(inner: Arc<Inner>, slot: Arc<Slot>) -> Self {
        let name = format!("plugin.{}", slot.name);
        Self { inner, slot, name }
    }
}

impl TargetKind for SinkKind {
    fn name(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> &[SettingSpec] {
        &[]
    }

    /// The plugin says what it takes. What is called a secret is treated as one.
    fn setting(&self, name: &str) -> Option<SettingValue> {
        const SECRETS: [&str; 4] = ["password", "token", "secret", "api_key"];
        let name = name.to_ascii_lowercase();
        Some(match SECRETS.iter().any(|secret| name.contains(secret)) {
            true => SettingValue::Secret,
            false => SettingValue::Any,
        })
    }

    fn takes_grants(&self) -> bool {
        true
    }

    fn open(&self, settings: &Settings, context: TargetContext) -> Result<Arc<dyn Target>, SettingError> {
        let error = |setting: &str, reason: String| SettingError { setting: setting.to_owned(), reason };
        let columns = settings.get(columns::SETTING).map(Columns::parse).transpose();
        let columns = columns.map_err(|reason| error(columns::SETTING, reason))?.unwrap_or_default();
        let passed = settings.0.iter().filter(|(name, _)| name != columns::SETTING);
        let passed: serde_json::Map<_, _> = passed.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let statement = match &context.sink {
            Some(sink) => format!("SINK {sink}"),
            None => "SINK name".to_owned(),
        };
        let owner = match &context.sink {
            Some(sink) => format!("sink {sink}"),
            None => format!("rule {}", context.rule),
        };
        let plugin = self.slot.name.to_string();
        let target = SinkTarget {
            inner: Arc::clone(&self.inner),
            slot: Arc::clone(&self.slot),
            used: Arc::new(Use { plugin, statement, owner, grants: context.grants }),
            settings: serde_json::Value::Object(passed).to_string(),
            columns,
            opened: Mutex::new(None),
        };
        target.check().map_err(|reason| error("settings", reason))?;
        Ok(Arc::new(target))
    }
}

struct SinkTarget {
    inner: Arc<Inner>,
    slot: Arc<Slot>,
    used: Arc<Use>,
    /// A JSON object. It may hold secrets.
    settings: String,
    columns: Columns,
    /// One instance: rows of an action go one batch after the other. It is taken out for a call, so that one that was cut,
    /// or whose caller has gone, is never used again.
    opened: Mutex<Option<Opened>>,
}

struct Opened {
    version: Arc<Version>,
    store: Store<State>,
    guest: Sink,
    sink: ResourceAny,
}

/// Why a batch was not written.
enum Failure {
    /// The plugin cannot be opened now: nothing is wrong with the rows.
    NotOpen(String),
    Fault(Fault),
}

impl Target for SinkTarget {
    fn write<'a>(&'a self, rows: &'a [Delivery]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut opened = self.opened.lock().await;
            let mut outcomes = vec![Outcome::Delivered; rows.len()];
            let mut parts = parts(rows);
            let mut faults = 0;
            let mut outage: Option<Outcome> = None;
            while let Some(part) = parts.pop() {
                let Some((rows, outcomes)) = rows.get(part.clone()).zip(outcomes.get_mut(part.clone())) else {
                    continue;
                };
                if let Some(outage) = &outage {
                    // Nothing overtakes a row that waits.
                    outcomes.fill(outage.clone());
                    continue;
                }
                match self.call(&mut opened, rows).await {
                    Ok(verdicts) => {
                        for (row, outcome) in verdicts {
                            if matches!(outcome, Outcome::Unavailable { .. }) {
                                outage = Some(outcome.clone());
                            }
                            if let Some(place) = outcomes.get_mut(row) {
                                *place = outcome;
                            }
                        }
                    }
                    Err(Failure::NotOpen(reason)) => {
                        let unavailable = Outcome::Unavailable { reason, retry_after: None };
                        outcomes.fill(unavailable.clone());
                        outage = Some(unavailable);
                    }
                    Err(Failure::Fault(fault)) => {
                        faults += 1;
                        tracing::warn!(used_by = self.used.statement, %fault, rows = rows.len(), "a plugin failed");
                        if fault.cause.may_be_one_rows() && rows.len() > 1 && faults <= FAULTS {
                            let middle = part.start + rows.len() / 2;
                            parts.push(middle..part.end);
                            parts.push(part.start..middle);
                        } else {
                            outcomes.fill(Outcome::Rejected { reason: fault.to_string(), retry: true });
                        }
                    }
                }
            }
            outcomes
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let opened = self.opened.lock().await.take();
            if let Some(opened) = opened {
                self.flush(opened).await;
            }
        })
    }
}

impl SinkTarget {
    /// Opens the sink once, without grants, to see whether it likes its settings. On a thread and a runtime of its own,
    /// as the caller's may have but one, and a guest must not hold it up.
    fn check(&self) -> Result<(), String> {
        let version = self.version()?;
        let used = Arc::new(Use { grants: Vec::new(), ..Use::clone(&self.used) });
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| format!("it cannot be checked: {error}"))?;
            runtime.block_on(self.open(version, used)).map(drop)
        };
        let checked = std::thread::scope(|scope| scope.spawn(work).join());
        checked.unwrap_or_else(|_| Err("it cannot be checked".to_owned()))
    }

    fn version(&self) -> Result<Arc<Version>, String> {
        self.slot.version.load_full().ok_or_else(|| format!("there is no plugin {} any more", self.slot.name))
    }

    async fn open(&self, version: Arc<Version>, used: Arc<Use>) -> Result<Opened, String> {
        let Inner { engine, options, services, http, .. } = self.inner.as_ref();
        let World::Sink(pre) = &version.world;
        let pre: SinkPre<State> = pre.clone();
        let mut store = instance::new_store(engine, options, services, http, Arc::clone(&used), true);
        instance::begin(&mut store);
        let settings = &self.settings;
        let call = async {
            let guest = pre.instantiate_async(&mut store).await?;
            let opened = guest.weir_plugin_sinks().sink().call_open(&mut store, settings).await?;
            Ok((guest, opened))
        };
        let digest = &version.summary.digest;
        match instance::run(engine, options, call).await {
            Ok((guest, Ok(sink))) => Ok(Opened { version, store, guest, sink }),
            Ok((_, Err(reason))) => Err(said(&reason, REASON_BYTES)),
            Err(cut) => Err(instance::fault(&used, digest, "open", None, cut).to_string()),
        }
    }

    /// Writes rows by the version in force, and says which were not delivered.
    async fn call(&self, place: &mut Option<Opened>, rows: &[Delivery]) -> Result<Vec<(usize, Outcome)>, Failure> {
        let version = self.version().map_err(Failure::NotOpen)?;
        let mut opened = match place.take() {
            Some(opened) if Arc::ptr_eq(&opened.version, &version) => opened,
            old => {
                if let Some(old) = old {
                    self.flush(old).await;
                }
                self.open(version, Arc::clone(&self.used)).await.map_err(Failure::NotOpen)?
            }
        };
        let Inner { engine, options, .. } = self.inner.as_ref();
        let batch = batch(rows, &self.columns);
        instance::begin(&mut opened.store);
        let guest = opened.guest.weir_plugin_sinks().sink();
        let call = guest.call_write(&mut opened.store, opened.sink, &batch);
        let written = instance::run(engine, options, call).await.and_then(|verdicts| {
            let known = |verdict: &sinks::Verdict| (verdict.row as usize) < rows.len();
            match verdicts.iter().find(|verdict| !known(verdict)) {
                Some(verdict) => {
                    let said = format!("a verdict on row {} of {}", verdict.row, rows.len());
                    Err((Cause::Malformed(said), Vec::new()))
                }
                None => {
                    Ok(verdicts.into_iter().map(|verdict| (verdict.row as usize, outcome(verdict.outcome))).collect())
                }
            }
        });
        match written {
            Ok(verdicts) => {
                *place = Some(opened);
                Ok(verdicts)
            }
            Err(cut) => {
                let first = rows.first().map(|row| format!("{}/{}", row.key.offset, row.key.row));
                let digest = &opened.version.summary.digest;
                Err(Failure::Fault(instance::fault(&self.used, digest, "write", first, cut)))
            }
        }
    }

    async fn flush(&self, mut opened: Opened) {
        let Inner { engine, options, .. } = self.inner.as_ref();
        instance::begin(&mut opened.store);
        let guest = opened.guest.weir_plugin_sinks().sink();
        let call = guest.call_flush(&mut opened.store, opened.sink);
        if let Err(cut) = instance::run(engine, options, call).await {
            let fault = instance::fault(&self.used, &opened.version.summary.digest, "flush", None, cut);
            tracing::warn!(used_by = self.used.statement, %fault, "a plugin failed");
        }
    }
}

/// Parts of a batch that fit into a call, the first last.
fn parts(rows: &[Delivery]) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, row) in rows.iter().enumerate() {
        if bytes > 0 && bytes + row.payload.len() > CALL_BYTES {
            parts.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += row.payload.len();
    }
    if start < rows.len() {
        parts.push(start..rows.len());
    }
    parts.reverse();
    parts
}

fn outcome(outcome: sinks::Outcome) -> Outcome {
    let shown = |reason: &str| said(reason, REASON_BYTES);
    match outcome {
        sinks::Outcome::Rejected(reason) => Outcome::Rejected { reason: shown(&reason), retry: false },
        sinks::Outcome::Refused(reason) => Outcome::Rejected { reason: shown(&reason), retry: true },
        sinks::Outcome::Unavailable(outage) => Outcome::Unavailable {
            reason: shown(&outage.reason),
            retry_after: outage.retry_after_ms.map(|time| std::time::Duration::from_millis(time.into())),
        },
    }
}

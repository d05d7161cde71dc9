//! One component that runs: its store, its bounds, and a call into it.

use std::{sync::Arc, time::Instant};

use tokio::time::timeout;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline, component::ResourceTable};
use weir_core::Grant;

use crate::{
    PluginServices,
    capability::{Http, LogBudget},
    engine::{Engine, TABLE_ENTRIES, TICK},
    fault::{Cause, Fault, backtrace},
    options::PluginOptions,
};

/// Bytes that a guest may hand to the hub in one call.
const ANSWER_BYTES: usize = 64 << 20;

/// Things such as connections that an instance may hold.
const HANDLES: usize = 64;

/// For whom an instance runs.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    pub(crate) plugin: String,
    /// What the statement that grants is called: `SINK archive`.
    pub(crate) statement: String,
    /// Whose keys and values it has.
    pub(crate) owner: String,
    pub(crate) grants: Vec<Grant>,
}

/// What host functions see of the instance that calls them.
pub(crate) struct State {
    pub(crate) used: Arc<Use>,
    pub(crate) services: PluginServices,
    pub(crate) http: Http,
    pub(crate) log: LogBudget,
    pub(crate) table: ResourceTable,
    pub(crate) started: Instant,
    limits: Limits,
    ticks: u64,
    allowed_ticks: u64,
    may_yield: bool,
}

struct Limits {
    memory_bytes: usize,
    used: usize,
    allowed: usize,
}

pub(crate) fn new_store(
    engine: &Engine,
    options: &PluginOptions,
    services: &PluginServices,
    http: &Http,
    used: Arc<Use>,
    may_yield: bool,
) -> Store<State> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES);
    let ticks = u64::try_from(options.compute_time.as_micros() / TICK.as_micros()).unwrap_or(u64::MAX);
    let state = State {
        used,
        services: services.clone(),
        http: http.clone(),
        log: LogBudget::default(),
        table,
        started: Instant::now(),
        limits: Limits { memory_bytes: options.memory_bytes, used: 0, allowed: options.memory_bytes },
        ticks: 0,
        allowed_ticks: ticks.max(1),
        may_yield,
    };
    let mut store = Store::new(&engine.wasmtime, state);
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(ANSWER_BYTES);
    let compute_time = options.compute_time;
    // Called when the guest computes while time passes: so what it waits for does not count.
    store.epoch_deadline_callback(move |mut context| {
        let state = context.data_mut();
        state.ticks += 1;
        if state.ticks > state.allowed_ticks {
            return Err(Cause::ComputedTooLong(compute_time).into());
        }
        Ok(if state.may_yield { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
    });
    store
}

/// Begins a call's time.
pub(crate) fn begin(store: &mut Store<State>) {
    store.data_mut().ticks = 0;
    store.set_epoch_deadline(1);
}

/// Runs a call to its end, or to the end of its time.
pub(crate) async fn run<T>(
    engine: &Engine,
    options: &PluginOptions,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> Result<T, (Cause, Vec<String>)> {
    let _time_passes = engine.running();
    match timeout(options.call_time, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err((cause(&error), backtrace(&error))),
        Err(_) => Err((Cause::TookTooLong(options.call_time), Vec::new())),
    }
}

fn cause(error: &wasmtime::Error) -> Cause {
    let text = error.root_cause().to_string();
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return Cause::AnswerTooLarge { limit: ANSWER_BYTES };
    }
    Cause::of(error)
}

/// A call's end, with all that is known of it.
pub(crate) fn fault(
    used: &Use,
    digest: &str,
    function: &'static str,
    offset: Option<String>,
    (cause, backtrace): (Cause, Vec<String>),
) -> Fault {
    Fault { plugin: used.plugin.clone(), digest: digest.to_owned(), function, offset, cause, backtrace }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if self.used.saturating_add(more) > self.allowed {
            return Err(Cause::OutOfMemory { limit: self.memory_bytes }.into());
        }
        self.used += more;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        match desired > TABLE_ENTRIES {
            true => Err(Cause::TableTooLarge { limit: TABLE_ENTRIES }.into()),
            false => Ok(true),
        }
    }

    fn instances(&self) -> usize {
        128
    }

    fn tables(&self) -> usize {
        128
    }

    fn memories(&self) -> usize {
        128
    }
}

//! The engine: compiles components, keeps what was compiled on disk, and lets time pass for those that run.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, component::Component};

use crate::options::PluginOptions;

/// How often a call that computes is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(2);

const WASM_STACK: usize = 512 << 10;
const FIBER_STACK: usize = 1 << 20;

/// Core instances, memories and tables of one component: an interpreter of another language has dozens.
const PARTS: u32 = 64;

/// Entries of a table.
pub(crate) const TABLE_ENTRIES: usize = 100_000;

pub(crate) struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    cache: PathBuf,
    ticker: Arc<Ticker>,
    thread: Thread,
}

/// Calls that run. Time passes for guests only while there are any.
#[derive(Default)]
struct Ticker {
    running: AtomicUsize,
}

/// Lets time pass for as long as it lives.
pub(crate) struct Running(Arc<Ticker>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Engine {
    pub(crate) fn new(options: &PluginOptions) -> io::Result<Self> {
        prepare(&options.cache)?;
        // A machine without room for the pool's addresses runs plugins all the same, a little slower.
        let wasmtime = wasmtime::Engine::new(&config(options, true))
            .or_else(|_| wasmtime::Engine::new(&config(options, false)))
            .map_err(|error| io::Error::other(error.to_string()))?;
        let ticker = Arc::new(Ticker::default());
        let (weak, ticking) = (wasmtime.weak(), Arc::downgrade(&ticker));
        let thread = thread::Builder::new().name("weir-plugins".to_owned()).spawn(move || {
            loop {
                let Some(ticker) = ticking.upgrade() else { return };
                let idle = ticker.running.load(Ordering::Acquire) == 0;
                drop(ticker);
                match idle {
                    // Woken by the first call; now and then it looks whether there is an engine at all.
                    true => thread::park_timeout(Duration::from_secs(1)),
                    false => thread::sleep(TICK),
                }
                if let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                }
            }
        })?;
        let thread = thread.thread().clone();
        Ok(Self { wasmtime, cache: options.cache.clone(), ticker, thread })
    }

    pub(crate) fn running(&self) -> Running {
        if self.ticker.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
        Running(Arc::clone(&self.ticker))
    }

    /// The component of these bytes: from the disk if it was compiled before. Blocks for as long as compiling takes.
    pub(crate) fn component(&self, digest: &str, bytes: &[u8]) -> wasmtime::Result<Component> {
        let path = self.cache.join(format!("{digest}-{:016x}.cwasm", self.compatibility()));
        if path.exists() {
            match load(&self.wasmtime, &path) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(%error, digest, "a compiled plugin cannot be used; it is compiled again"),
            }
        }
        let component = Component::from_binary(&self.wasmtime, bytes)?;
        // Without it the next start takes longer, no more.
        if let Err(error) = component.serialize().and_then(|code| Ok(store(&path, &code)?)) {
            tracing::warn!(%error, digest, "a compiled plugin cannot be kept");
        }
        Ok(component)
    }

    /// Forgets compiled code of all but these components.
    pub(crate) fn keep_only(&self, digests: &[String]) {
        let Ok(files) = fs::read_dir(&self.cache) else { return };
        let current = format!("-{:016x}.cwasm", self.compatibility());
        for file in files.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let wanted = name.strip_suffix(&current).is_some_and(|digest| digests.iter().any(|known| known == digest));
            if !wanted && let Err(error) = fs::remove_file(file.path()) {
                tracing::debug!(%error, name, "an old file stays in the cache of plugins");
            }
        }
    }

    fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }
}

fn config(options: &PluginOptions, pooling: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .concurrency_support(false);
    if pooling {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(options.instances)
            .total_core_instances(options.instances.saturating_mul(4))
            .total_memories(options.instances.saturating_mul(2))
            .total_tables(options.instances.saturating_mul(4))
            .total_stacks(options.instances)
            .max_core_instances_per_component(PARTS)
            .max_memories_per_component(PARTS)
            .max_tables_per_component(PARTS)
            .table_elements(TABLE_ENTRIES)
            .max_memory_size(options.memory_bytes)
            .linear_memory_keep_resident(1 << 20)
            .table_keep_resident(64 << 10)
            .pagemap_scan(Enabled::No);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

#[expect(unsafe_code, reason = "compiled code is run as it is: it comes from a folder that only this user can write")]
fn load(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file was written by `store`, into a folder that `prepare` took from everybody else.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Written beside and renamed, so that a crash leaves a whole file or none.
fn store(path: &Path, code: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(code)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// Makes the folder, for its owner alone.
fn prepare(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

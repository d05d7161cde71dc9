//! The plugins of a hub: what is checked, what is in force, and what it is as a kind of target.

use std::{collections::BTreeMap, io, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use wasmtime::component::{HasSelf, Linker};
use weir_core::{
    PluginName,
    plugin::{PluginError, PluginSummary, Plugins},
    seams::{BoxFuture, TargetKind},
};

use crate::{
    PluginOptions, PluginServices,
    adapter::SinkKind,
    bindings,
    capability::Http,
    component::{Version, World, load},
    engine::Engine,
    instance::State,
};

/// Components that were checked and are not in force. Beyond it the oldest is forgotten.
const CHECKED: usize = 8;

/// Runs plugins. Cloning shares it.
#[derive(Clone)]
pub struct PluginHost(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) options: PluginOptions,
    pub(crate) services: PluginServices,
    pub(crate) http: Http,
    linker: Linker<State>,
    /// Guards a short list for one push or one look.
    checked: Mutex<Vec<Arc<Version>>>,
    /// Exchanged whole; a target keeps its slot, and finds the version of the moment in it.
    slots: ArcSwap<BTreeMap<PluginName, Arc<Slot>>>,
}

/// A plugin's name and the version in force; none when it was deleted.
pub(crate) struct Slot {
    pub(crate) name: PluginName,
    pub(crate) version: ArcSwapOption<Version>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("no engine for plugins can be made")]
    Engine(#[source] io::Error),
    #[error("no network for plugins: {0}")]
    Network(String),
    #[error("the interfaces of plugins do not fit together: {0}")]
    Linker(String),
}

impl std::fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginHost").field("plugins", &self.names()).finish_non_exhaustive()
    }
}

impl PluginHost {
    pub fn start(options: PluginOptions, services: PluginServices) -> Result<Self, StartError> {
        let engine = Engine::new(&options).map_err(StartError::Engine)?;
        let http = Http::new(services.resolver.clone()).map_err(StartError::Network)?;
        let mut linker = Linker::new(&engine.wasmtime);
        bindings::sink::Sink::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)
            .map_err(|error| StartError::Linker(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            engine,
            options,
            services,
            http,
            linker,
            checked: Mutex::default(),
            slots: ArcSwap::default(),
        })))
    }

    /// Forgets compiled code on disk that belongs to no plugin in force.
    pub fn tidy_cache(&self) {
        let slots = self.0.slots.load();
        let versions = slots.values().filter_map(|slot| slot.version.load_full());
        let digests: Vec<String> = versions.map(|version| version.summary.digest.clone()).collect();
        self.0.engine.keep_only(&digests);
    }

    fn slot(&self, name: &PluginName) -> Option<Arc<Slot>> {
        self.0.slots.load().get(name).cloned()
    }
}

impl Plugins for PluginHost {
    fn check(&self, component: Arc<[u8]>) -> BoxFuture<'_, Result<PluginSummary, PluginError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let work = move || {
                let version = load(&inner.engine, &inner.linker, &inner.options, &component)?;
                let summary = version.summary.clone();
                let mut checked = inner.checked.lock();
                checked.retain(|known| known.summary.digest != summary.digest);
                if checked.len() >= CHECKED {
                    checked.remove(0);
                }
                checked.push(Arc::new(version));
                Ok(summary)
            };
            let done = tokio::task::spawn_blocking(work).await;
            done.unwrap_or_else(|error| Err(PluginError::Unavailable(format!("the compiler failed: {error}"))))
        })
    }

    fn put_in_force(&self, name: &PluginName, summary: &PluginSummary) {
        let version = {
            let mut checked = self.0.checked.lock();
            let place = checked.iter().position(|known| known.summary.digest == summary.digest);
            place.map(|place| checked.remove(place))
        };
        let Some(version) = version else { return };
        match self.slot(name) {
            Some(slot) => slot.version.store(Some(version)),
            None => {
                let slot = Arc::new(Slot { name: name.clone(), version: ArcSwapOption::from(Some(version)) });
                self.0.slots.rcu(|slots| {
                    let mut slots = BTreeMap::clone(slots);
                    slots.insert(name.clone(), Arc::clone(&slot));
                    slots
                });
            }
        }
    }

    fn forget(&self, name: &PluginName) {
        if let Some(slot) = self.slot(name) {
            slot.version.store(None);
        }
        self.0.slots.rcu(|slots| {
            let mut slots = BTreeMap::clone(slots);
            slots.remove(name);
            slots
        });
    }

    fn target_kind(&self, name: &PluginName) -> Option<Arc<dyn TargetKind>> {
        let slot = self.slot(name)?;
        match slot.version.load_full()?.world {
            World::Sink(_) => Some(Arc::new(SinkKind::new(Arc::clone(&self.0), slot))),
        }
    }

    fn names(&self) -> Vec<PluginName> {
        self.0.slots.load().keys().cloned().collect()
    }
}

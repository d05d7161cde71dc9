//! Which devices have ever connected: kept with the device, because one that has cannot register any more.
//!
//! Sessions open where nothing may wait, so they tell it through a bounded channel, and one task stores what has gathered
//! in one write. What is lost by a crash, or because the channel is full, is told again when the device connects next.

use tokio::sync::mpsc;
use weir_core::DeviceId;
use weir_log::Clock;
use weir_store::Store;

use crate::{Drain, Metrics};

/// Devices that may wait to be stored. Beyond it they are passed over and counted.
const WAITING: usize = 65_536;

/// Devices stored in one write.
const BATCH: usize = 1_024;

/// Where it is told that a device has connected.
#[derive(Debug, Clone)]
pub(crate) struct Activations {
    connected: mpsc::Sender<DeviceId>,
    metrics: Metrics,
}

/// Stores it.
#[derive(Debug)]
pub(crate) struct Activator {
    connected: mpsc::Receiver<DeviceId>,
    store: Store,
    clock: Clock,
}

pub(crate) fn activations(store: Store, clock: Clock, metrics: Metrics) -> (Activations, Activator) {
    let (sender, connected) = mpsc::channel(WAITING);
    (Activations { connected: sender, metrics }, Activator { connected, store, clock })
}

impl Activations {
    pub(crate) fn tell(&self, device: &DeviceId) {
        if self.connected.try_send(device.clone()).is_err() {
            self.metrics.refused_for("activation", "too_many");
        }
    }
}

impl Activator {
    /// Runs until it is told to end; what was told before is stored first.
    pub(crate) async fn run(mut self, drain: Drain) {
        loop {
            let mut devices = Vec::new();
            tokio::select! {
                biased;
                received = self.connected.recv_many(&mut devices, BATCH) => if received == 0 {
                    return;
                },
                () = drain.token().cancelled() => return,
            }
            if let Err(error) = self.store.activate_devices(devices, self.clock.now()).await {
                tracing::warn!(%error, "it is not kept that devices have connected; it is told again when they do");
            }
        }
    }
}

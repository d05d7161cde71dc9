//! The devices that are online through a gateway, each through one connection of it.
//!
//! What a gateway may do for others rests on this alone: it begins with a line here, and ends with it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use weir_core::{DeviceId, Timestamp};

/// How a device is online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Through {
    pub(crate) gateway: DeviceId,
    pub(crate) connection: u64,
    pub(crate) since: Timestamp,
}

/// Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SubDevices(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Guarded for one lookup or change. Whoever holds the list of connections may take it, not the other way round.
    online: RwLock<Online>,
    /// How many they are, so that nobody looks where there are none.
    count: AtomicUsize,
    /// The same, for those who watch.
    shown: Gauge,
    /// Devices whose gateway's connection is gone; its end must not wait for room in a channel.
    left: Mutex<Vec<(DeviceId, Through)>>,
    left_notify: Notify,
}

impl Inner {
    fn counted(&self, online: &Online) {
        let count = online.by_device.len();
        self.count.store(count, Ordering::Release);
        self.shown.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

#[derive(Debug, Default)]
struct Online {
    by_device: HashMap<DeviceId, Through>,
    by_connection: HashMap<u64, BTreeSet<DeviceId>>,
}

impl SubDevices {
    /// Says on `shown` how many they are.
    pub(crate) fn new(shown: Gauge) -> Self {
        Self(Arc::new(Inner { shown, ..Inner::default() }))
    }

    /// Whether a device is online through this connection.
    pub(crate) fn is_through(&self, connection: u64, device: &DeviceId) -> bool {
        self.some_are()
            && self.0.online.read().by_device.get(device).is_some_and(|through| through.connection == connection)
    }

    pub(crate) fn through(&self, device: &DeviceId) -> Option<Through> {
        if self.some_are() { self.0.online.read().by_device.get(device).cloned() } else { None }
    }

    /// All that are online as `which` says.
    pub(super) fn those(&self, which: impl Fn(&DeviceId, &Through) -> bool) -> Vec<DeviceId> {
        let online = self.0.online.read();
        let those = online.by_device.iter().filter(|(device, through)| which(device, through));
        those.map(|(device, _)| device.clone()).collect()
    }

    fn some_are(&self) -> bool {
        // A gateway is answered after its device is counted; before, the device may as well not be online yet.
        self.0.count.load(Ordering::Acquire) > 0
    }

    // === for the list of connections, which tells the news ===

    /// Gives how it was online before, if it was.
    pub(crate) fn put(&self, device: &DeviceId, through: Through) -> Option<Through> {
        let mut online = self.0.online.write();
        let before = online.take(device);
        online.by_connection.entry(through.connection).or_default().insert(device.clone());
        online.by_device.insert(device.clone(), through);
        self.0.counted(&online);
        before
    }

    /// Takes a device out if it is online as `which` says.
    pub(crate) fn take(&self, device: &DeviceId, which: impl FnOnce(&Through) -> bool) -> Option<Through> {
        if !self.some_are() {
            return None;
        }
        let mut online = self.0.online.write();
        if !online.by_device.get(device).is_some_and(which) {
            return None;
        }
        let taken = online.take(device);
        self.0.counted(&online);
        taken
    }

    /// Takes out all that are online through a connection.
    pub(crate) fn take_all(&self, connection: u64) -> Vec<(DeviceId, Through)> {
        if !self.some_are() {
            return Vec::new();
        }
        let mut online = self.0.online.write();
        let devices = online.by_connection.remove(&connection).unwrap_or_default();
        let taken = devices.into_iter().filter_map(|device| online.by_device.remove_entry(&device)).collect();
        self.0.counted(&online);
        taken
    }

    // === for the task that ends what their gateways subscribed to ===

    pub(crate) fn have_left(&self, devices: Vec<(DeviceId, Through)>) {
        if !devices.is_empty() {
            self.0.left.lock().extend(devices);
            self.0.left_notify.notify_one();
        }
    }

    pub(super) async fn some_left(&self) {
        self.0.left_notify.notified().await;
    }

    pub(super) fn take_left(&self) -> Vec<(DeviceId, Through)> {
        std::mem::take(&mut *self.0.left.lock())
    }
}

impl Online {
    fn take(&mut self, device: &DeviceId) -> Option<Through> {
        let through = self.by_device.remove(device)?;
        if let Some(devices) = self.by_connection.get_mut(&through.connection) {
            devices.remove(device);
            if devices.is_empty() {
                self.by_connection.remove(&through.connection);
            }
        }
        Some(through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_online_through_one_connection() {
        let sub_devices = SubDevices::default();
        let device = |name: &str| format!("A1B2C3D4E5/{name}").parse::<DeviceId>().unwrap();
        let through =
            |connection| Through { gateway: "GATEWAY001/g".parse().unwrap(), connection, since: Timestamp(7) };
        assert_eq!(sub_devices.put(&device("a"), through(1)), None);
        assert_eq!(sub_devices.put(&device("b"), through(1)), None);
        assert_eq!(sub_devices.put(&device("a"), through(2)), Some(through(1)));
        let is = |connection, name: &str| sub_devices.is_through(connection, &device(name));
        assert!(is(2, "a") && is(1, "b") && !is(1, "a") && !is(2, "b") && !is(1, "c"));
        assert_eq!(sub_devices.those(|_, through| through.connection == 2), [device("a")]);
        assert_eq!(sub_devices.take(&device("b"), |through| through.connection == 2), None);
        assert_eq!(sub_devices.0.shown.get(), 2);
        assert_eq!(sub_devices.take_all(1), [(device("b"), through(1))]);
        assert_eq!(sub_devices.0.shown.get(), 1);
        assert_eq!(sub_devices.take_all(1), []);
        assert_eq!(sub_devices.through(&device("a")), Some(through(2)));
        assert_eq!(sub_devices.take(&device("a"), |_| true), Some(through(2)));
        assert!(!is(2, "a") && sub_devices.0.online.read().by_connection.is_empty());
    }
}

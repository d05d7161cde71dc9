//! The connections that have a session now: at most one for each.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_core::{CertificateIdentity, DeviceId, Fingerprint, Principal, ProductId, Protocol, Timestamp};

use super::{CloseReason, SessionKey};
use crate::{
    gateway::{SubDevices, Through},
    line::Line,
    presence::{Presence, Reason},
};

/// Guards a map for lookups as short as one insert.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Mutex<Open>,
    next: AtomicU64,
    /// Devices that are online through a connection of another one.
    sub_devices: SubDevices,
}

/// A gateway that is not connected brings nobody online.
#[derive(Debug)]
pub(crate) struct Away;

#[derive(Debug, Default)]
struct Open {
    by_key: HashMap<SessionKey, Connected>,
    /// Wills that wait for their client to come back, with the connection they are of.
    wills: HashMap<SessionKey, (u64, oneshot::Sender<Fate>)>,
}

/// What becomes of a will that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Sent,
    Discarded,
}

/// What becomes of a will with a delay.
#[derive(Debug)]
pub(super) enum Delayed {
    /// The session has ended already.
    Send,
    /// The client is back already.
    Discard,
    /// Until this is told, or the delay is over.
    Wait(oneshot::Receiver<Fate>),
}

#[derive(Debug, Clone)]
struct Connected {
    line: Arc<Line>,
    protocol: Protocol,
    connected_at: Timestamp,
    /// By which it came, if it did.
    certificate: Option<Arc<CertificateIdentity>>,
    /// Whether it goes on with the session of the one before it.
    goes_on: bool,
    /// Whether its end was told already, because its device came online through a gateway.
    is_told: bool,
}

/// Whose connections these are, for presence.
pub(super) struct Registration<'a> {
    pub(super) key: &'a SessionKey,
    pub(super) principal: &'a Principal,
    pub(super) protocol: Protocol,
    pub(super) at: Timestamp,
    pub(super) certificate: Option<&'a Arc<CertificateIdentity>>,
    pub(super) goes_on: bool,
}

/// A connection's place.
pub(super) struct Registered {
    pub(super) line: Arc<Line>,
    /// The connection that had it.
    pub(super) replaced: Option<Arc<Line>>,
    /// How the device was online through its gateway.
    pub(super) displaced: Option<Through>,
    /// Connections there are now.
    pub(super) open: usize,
}

impl Connections {
    /// Numbers of connections go on from one process to the next: `epoch` is that of the log.
    pub(crate) fn new(epoch: u32, sub_devices: SubDevices) -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(u64::from(epoch) << 40), sub_devices }
    }

    /// Adds a connection and tells that its device is there, after it has told that the one it replaces is gone. A
    /// delayed will is not sent, if the session goes on [MQTT5-3.1.3-9].
    pub(super) fn register(&self, registration: &Registration<'_>, presence: &Presence) -> Registered {
        let Registration { key, principal, protocol, at, certificate, goes_on } = *registration;
        let line = Arc::new(Line::new(self.next.fetch_add(1, Ordering::Relaxed)));
        let connected = Connected {
            line: Arc::clone(&line),
            protocol,
            connected_at: at,
            certificate: certificate.cloned(),
            goes_on,
            is_told: false,
        };
        let mut open = self.open.lock();
        let old = open.by_key.insert(key.clone(), connected);
        if let Some(old) = &old {
            old.line.close(CloseReason::TakenOver);
        }
        if let Some((_, will)) = open.wills.remove(key) {
            // A client that starts anew has ended the session that the will is of. Nobody waits if it was sent.
            let _told = will.send(if goes_on { Fate::Discarded } else { Fate::Sent });
        }
        let mut displaced = None;
        // Under the lock, so that news of one device has the order of its connections.
        if let Principal::Device(device) = principal {
            displaced = self.sub_devices.take(device, |_| true);
            if let Some(old) = &old {
                let behind = self.sub_devices.take_all(old.line.id);
                behind.iter().for_each(|(behind, _)| presence.tell(behind, Reason::TakenOver));
                self.sub_devices.have_left(behind);
            }
            if displaced.is_some() || old.as_ref().is_some_and(|old| !old.is_told) {
                presence.tell(device, Reason::TakenOver);
            }
            presence.tell(device, Reason::Connected);
        }
        Registered { line, replaced: old.map(|old| old.line), displaced, open: open.by_key.len() }
    }

    /// Brings a device online through the connection that its gateway has now; one of its own is closed. Gives how it was
    /// online through a connection before, if that was another.
    pub(crate) fn bring_online(
        &self,
        gateway: &DeviceId,
        device: &DeviceId,
        at: Timestamp,
        presence: &Presence,
    ) -> Result<Option<Through>, Away> {
        let mut open = self.open.lock();
        let connected = open.by_key.get(&SessionKey::of_device(gateway)).filter(|gate| gate.line.closed().is_none());
        let connection = connected.ok_or(Away)?.line.id;
        if self.sub_devices.is_through(connection, device) {
            return Ok(None);
        }
        let mut was_there = false;
        if let Some(own) = open.by_key.get_mut(&SessionKey::of_device(device)).filter(|own| !own.is_told) {
            own.line.close(CloseReason::TakenOver);
            own.is_told = true;
            was_there = true;
        }
        let before = self.sub_devices.put(device, Through { gateway: gateway.clone(), connection, since: at });
        if was_there || before.is_some() {
            presence.tell(device, Reason::TakenOver);
        }
        presence.tell(device, Reason::Connected);
        Ok(before)
    }

    /// Takes a device offline that is online through a gateway as `which` says, and tells so.
    pub(crate) fn take_offline(
        &self,
        device: &DeviceId,
        which: impl FnOnce(&Through) -> bool,
        reason: Reason,
        presence: &Presence,
    ) -> Option<Through> {
        let _order_of_news = self.open.lock();
        let through = self.sub_devices.take(device, which)?;
        presence.tell(device, reason);
        Some(through)
    }

    /// Takes a connection out, unless another has taken its place, and tells that its device is gone, and those with it
    /// that were online through it.
    pub(super) fn remove(
        &self,
        key: &SessionKey,
        line: &Line,
        principal: &Principal,
        reason: Reason,
        presence: &Presence,
    ) -> usize {
        let mut open = self.open.lock();
        if open.by_key.get(key).is_some_and(|connected| connected.line.id == line.id) {
            let is_told = open.by_key.remove(key).is_some_and(|connected| connected.is_told);
            if let Principal::Device(device) = principal {
                let behind = self.sub_devices.take_all(line.id);
                behind.iter().for_each(|(behind, _)| presence.tell(behind, reason));
                self.sub_devices.have_left(behind);
                if !is_told {
                    presence.tell(device, reason);
                }
            }
        }
        open.by_key.len()
    }

    /// Lets the will of a connection that is gone wait.
    pub(super) fn delay_will(&self, key: &SessionKey, line: &Line) -> Delayed {
        let mut open = self.open.lock();
        if let Some(other) = open.by_key.get(key).filter(|connected| connected.line.id != line.id) {
            return if other.goes_on { Delayed::Discard } else { Delayed::Send };
        }
        let (tell, told) = oneshot::channel();
        open.wills.insert(key.clone(), (line.id, tell));
        Delayed::Wait(told)
    }

    /// The delay of a will is over.
    pub(super) fn forget_will(&self, key: &SessionKey, line: &Line) {
        let mut open = self.open.lock();
        if open.wills.get(key).is_some_and(|(of, _)| *of == line.id) {
            open.wills.remove(key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.lock().by_key.len()
    }

    /// Protocol, time and certificate of the connection that has a session.
    pub(crate) fn about(&self, key: &SessionKey) -> Option<(Protocol, Timestamp, Option<Fingerprint>)> {
        self.open.lock().by_key.get(key).map(|connected| {
            let certificate = connected.certificate.as_ref().map(|certificate| certificate.fingerprint);
            (connected.protocol, connected.connected_at, certificate)
        })
    }

    pub(crate) fn close_device(&self, device: &DeviceId, reason: CloseReason) {
        if let Some(connected) = self.open.lock().by_key.get(&SessionKey::of_device(device)) {
            connected.line.close(reason);
        }
    }

    pub(crate) fn close_product(&self, product: &ProductId, reason: CloseReason) {
        for (key, connected) in &self.open.lock().by_key {
            if key.device().is_some_and(|device| device.product == *product) {
                connected.line.close(reason);
            }
        }
    }

    /// Closes the connections that came by a certificate of which `withdrawn` is true.
    pub(crate) fn close_certified(&self, withdrawn: impl Fn(&CertificateIdentity) -> bool, reason: CloseReason) {
        for connected in self.open.lock().by_key.values() {
            if connected.certificate.as_deref().is_some_and(&withdrawn) {
                connected.line.close(reason);
            }
        }
    }

    /// Closes the connections that act as `owner`.
    pub(crate) fn close_owner(&self, owner: &str, reason: CloseReason) {
        for (key, connected) in &self.open.lock().by_key {
            if key.owner() == owner {
                connected.line.close(reason);
            }
        }
    }
}

//! What a test's hub believes: all of it in memory, replaced as a whole.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use weir_core::{DeviceId, Fingerprint};

use crate::{Authorities, Trust};

#[derive(Debug, Default)]
pub(super) struct TrustSnapshot {
    pub(super) authorities: Arc<Authorities>,
    pub(super) pins: HashMap<Fingerprint, DeviceId>,
    pub(super) revocations: HashSet<Fingerprint>,
}

#[derive(Debug, Default)]
pub(super) struct SharedTrust(ArcSwap<TrustSnapshot>);

impl SharedTrust {
    pub(super) fn new(snapshot: TrustSnapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// What the next handshake goes by.
    pub(super) fn replace(&self, snapshot: TrustSnapshot) {
        self.0.store(Arc::new(snapshot));
    }
}

impl Trust for SharedTrust {
    fn authorities(&self) -> Arc<Authorities> {
        Arc::clone(&self.0.load().authorities)
    }

    fn pinned(&self, certificate: &Fingerprint) -> Option<DeviceId> {
        self.0.load().pins.get(certificate).cloned()
    }

    fn accepts_only_pins(&self, device: &DeviceId) -> bool {
        self.0.load().pins.values().any(|pinned| pinned == device)
    }

    fn is_revoked(&self, certificate: &Fingerprint) -> bool {
        self.0.load().revocations.contains(certificate)
    }
}

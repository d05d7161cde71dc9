//! Documents in memory: those that wait to be stored, and as many others as there is room for.
//!
//! Devices are kept in two generations. Whatever is used is in the young one; when that is full it becomes the old one,
//! and what is left in the old one by then has not been used for long. What is not stored yet is never left out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use weir_core::{DeviceId, ShadowName, shadow::Document};

use super::state::OfDevice;

/// Bytes of a document in memory beside its text, about; and how much larger values are than their text.
const OVERHEAD: usize = 512;
const SPREAD: usize = 4;

/// Documents, and bytes of their text, that may wait to be stored. Beyond it no more requests are applied until some are.
const UNSAVED: usize = 8_192;
const UNSAVED_BYTES: usize = 16 << 20;

/// A document that is to be stored.
pub(super) type Changed = (DeviceId, Option<ShadowName>, Arc<Document>);

#[derive(Debug)]
pub(super) struct Cache {
    young: HashMap<DeviceId, Slot>,
    old: HashMap<DeviceId, Slot>,
    young_bytes: usize,
    /// Bytes of one generation.
    bound: usize,
    /// The number of the step that changes go into, and of the last one that is stored.
    step: u64,
    saved: u64,
    changed: BTreeSet<(DeviceId, Option<ShadowName>)>,
    /// Bytes of their text, at the most: one that changes twice counts twice.
    changed_bytes: usize,
    forgotten: BTreeSet<DeviceId>,
    /// Devices that the store may still know something of, and the steps that end that.
    leaving: HashMap<DeviceId, u64>,
}

/// The shadows of a device that exists.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) shadows: BTreeMap<Option<ShadowName>, Arc<Document>>,
    /// The step that has its last change.
    step: u64,
}

impl Slot {
    pub(super) fn of(shadows: OfDevice) -> Self {
        Self { shadows: shadows.into_iter().collect(), step: 0 }
    }

    fn bytes(&self) -> usize {
        OVERHEAD + self.shadows.values().map(|document| OVERHEAD + SPREAD * document.size()).sum::<usize>()
    }
}

impl Cache {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            bound: bytes / 2,
            step: 1,
            saved: 0,
            changed: BTreeSet::new(),
            changed_bytes: 0,
            forgotten: BTreeSet::new(),
            leaving: HashMap::new(),
        }
    }

    /// Whether a device is here; from now on it counts as used.
    pub(super) fn touch(&mut self, device: &DeviceId) -> bool {
        if self.young.contains_key(device) {
            return true;
        }
        let Some(slot) = self.old.remove(device) else { return false };
        self.insert(device.clone(), slot);
        true
    }

    pub(super) fn insert(&mut self, device: DeviceId, slot: Slot) {
        self.young_bytes += slot.bytes();
        self.young.insert(device, slot);
    }

    /// A device that was touched.
    pub(super) fn get(&self, device: &DeviceId) -> Option<&Slot> {
        self.young.get(device)
    }

    /// Changes a document of a device that was touched.
    pub(super) fn set(&mut self, device: &DeviceId, name: Option<&ShadowName>, document: Arc<Document>) {
        let Some(slot) = self.young.get_mut(device) else { return };
        let size = document.size();
        self.young_bytes += OVERHEAD + SPREAD * size;
        if let Some(old) = slot.shadows.insert(name.cloned(), document) {
            self.young_bytes = self.young_bytes.saturating_sub(OVERHEAD + SPREAD * old.size());
        }
        slot.step = self.step;
        self.changed_bytes += size;
        self.changed.insert((device.clone(), name.cloned()));
    }

    /// A device is gone, with all of its shadows.
    pub(super) fn forget(&mut self, device: &DeviceId) {
        let slot = self.young.remove(device);
        self.young_bytes = self.young_bytes.saturating_sub(slot.map_or(0, |slot| slot.bytes()));
        self.old.remove(device);
        self.changed.retain(|(changed, _)| changed != device);
        self.forgotten.insert(device.clone());
        self.leaving.insert(device.clone(), self.step);
    }

    /// Whether what the store has of a device is of an earlier one of the same name.
    pub(super) fn is_forgotten(&self, device: &DeviceId) -> bool {
        self.leaving.contains_key(device)
    }

    /// Whether something waits to be stored.
    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty() || !self.forgotten.is_empty()
    }

    /// The last step that is not stored, if one is not: that of changes that wait, or of those on their way.
    pub(super) fn unsaved_step(&self) -> Option<u64> {
        let last = if self.has_changes() { self.step } else { self.step - 1 };
        (last > self.saved).then_some(last)
    }

    /// Whether so much waits that no more should come.
    pub(super) fn is_full(&self) -> bool {
        self.changed.len() + self.forgotten.len() >= UNSAVED || self.changed_bytes >= UNSAVED_BYTES
    }

    /// What changed since the last call, and the number of the step that it makes.
    pub(super) fn capture(&mut self) -> (u64, Vec<Changed>, Vec<DeviceId>) {
        let changed = std::mem::take(&mut self.changed).into_iter().filter_map(|(device, name)| {
            let slot = self.young.get(&device).or_else(|| self.old.get(&device))?;
            let document = Arc::clone(slot.shadows.get(&name)?);
            Some((device, name, document))
        });
        let changed = changed.collect();
        let number = self.step;
        self.step += 1;
        self.changed_bytes = 0;
        (number, changed, std::mem::take(&mut self.forgotten).into_iter().collect())
    }

    /// A step is stored, and those before it.
    pub(super) fn are_saved(&mut self, step: u64) {
        self.saved = self.saved.max(step);
        self.leaving.retain(|_, leaves| *leaves > step);
    }

    /// Leaves out what was not used for long, if there is too much. Between two frames: what one touches stays for it.
    pub(super) fn shrink(&mut self) {
        if self.young_bytes <= self.bound {
            return;
        }
        let saved = self.saved;
        let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        self.young_bytes = 0;
        for (device, slot) in old.into_iter().filter(|(_, slot)| slot.step > saved) {
            self.insert(device, slot);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use weir_core::Timestamp;

    use super::*;

    fn device(number: usize) -> DeviceId {
        format!("A1B2C3D4E5/d{number}").parse().unwrap()
    }

    fn document(version: u64) -> Arc<Document> {
        let encoded = Document::default().encode();
        Arc::new(Document::decode(&encoded, version, Timestamp(0)).unwrap())
    }

    #[test]
    fn what_is_not_stored_stays_whatever_the_bound() {
        let mut cache = Cache::new(20 * OVERHEAD);
        for number in 0..100 {
            let device = device(number);
            assert!(!cache.touch(&device));
            cache.insert(device.clone(), Slot::default());
            if number % 2 == 0 {
                cache.set(&device, None, document(1));
            }
            cache.shrink();
        }
        assert!((50..80).contains(&cache.len()), "{}", cache.len());
        assert!(cache.has_changes() && !cache.is_full());
        let (step, changed, _) = cache.capture();
        assert_eq!(changed.len(), 50);
        // One that changes again while it is being stored waits for the next step.
        assert!(cache.touch(&device(0)));
        cache.set(&device(0), None, document(2));
        cache.are_saved(step);
        for number in 100..200 {
            cache.insert(device(number), Slot::default());
            cache.shrink();
        }
        assert!(cache.len() < 30, "{}", cache.len());
        assert!(cache.touch(&device(0)) && !cache.touch(&device(2)));
        let (_, changed, _) = cache.capture();
        assert_eq!(changed, [(device(0), None, document(2))]);
    }

    #[test]
    fn what_is_used_stays() {
        let mut cache = Cache::new(20 * OVERHEAD);
        cache.insert(device(0), Slot::default());
        for number in 1..100 {
            cache.insert(device(number), Slot::default());
            cache.shrink();
            assert!(cache.touch(&device(0)), "{number}");
        }
        assert!(!cache.touch(&device(1)));
    }

    #[test]
    fn a_device_that_is_gone_leaves_no_change() {
        let mut cache = Cache::new(1 << 20);
        cache.insert(device(0), Slot::default());
        cache.set(&device(0), None, document(1));
        cache.forget(&device(0));
        assert!(!cache.touch(&device(0)));
        let (step, changed, forgotten) = cache.capture();
        assert_eq!((changed, forgotten), (Vec::new(), vec![device(0)]));
        assert!(cache.is_forgotten(&device(0)));
        cache.are_saved(step);
        assert!(!cache.is_forgotten(&device(0)));
    }
}

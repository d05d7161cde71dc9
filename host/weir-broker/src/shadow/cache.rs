//! Documents in memory: those that wait to be stored, and as many others as there is room for.
//!
//! Devices are kept in two generations. Whatever is used is in the young one; when that is full it becomes the old one,
//! and what is left in the old one by then has not been used for long. What is not stored yet is never left out.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use weir_core::{DeviceId, ShadowName, shadow::Document};

use super::state::OfDevice;

/// Bytes of a document in memory beside its text, about; and how much larger values are than their text.
const OVERHEAD: usize = 512;
const SPREAD: usize = 4;

/// Documents, and bytes of their text, that may wait to be stored. Beyond it no more requests are applied until some are.
const UNSAVED: usize = 32_768;
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
    /// Devices with a change in this step. One that was forgotten and made again may stand twice.
    changed: Vec<DeviceId>,
    /// Documents that changed in this step, at the most.
    changed_documents: usize,
    /// Bytes of their text, at the most: one that changes twice counts twice.
    changed_bytes: usize,
    forgotten: BTreeSet<DeviceId>,
    /// Devices that the store may still know something of, and the steps that end that.
    leaving: HashMap<DeviceId, u64>,
}

/// The shadows of a device that exists: few, and most often one.
#[derive(Debug, Default)]
pub(super) struct Slot {
    shadows: Vec<Held>,
    /// The step that has its last change.
    step: u64,
}

#[derive(Debug)]
struct Held {
    name: Option<ShadowName>,
    document: Arc<Document>,
    /// The step that has its last change.
    step: u64,
}

impl Slot {
    pub(super) fn of(shadows: OfDevice) -> Self {
        let held = |(name, document)| Held { name, document, step: 0 };
        Self { shadows: shadows.into_iter().map(held).collect(), step: 0 }
    }

    pub(super) fn get(&self, name: Option<&ShadowName>) -> Option<&Arc<Document>> {
        self.shadows.iter().find(|held| held.name.as_ref() == name).map(|held| &held.document)
    }

    /// By name; the classic one comes first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Option<ShadowName>, &Arc<Document>)> {
        self.shadows.iter().map(|held| (&held.name, &held.document))
    }

    fn bytes(&self) -> usize {
        OVERHEAD + self.shadows.iter().map(|held| bytes(&held.document)).sum::<usize>()
    }
}

fn bytes(document: &Document) -> usize {
    OVERHEAD + SPREAD * document.size()
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
            changed: Vec::new(),
            changed_documents: 0,
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
        if slot.step != self.step {
            slot.step = self.step;
            self.changed.push(device.clone());
        }
        self.changed_bytes += document.size();
        self.young_bytes += bytes(&document);
        let place = slot.shadows.binary_search_by(|held| held.name.as_ref().cmp(&name));
        match place.map(|place| slot.shadows.get_mut(place)) {
            Ok(Some(held)) => {
                self.young_bytes = self.young_bytes.saturating_sub(bytes(&held.document));
                self.changed_documents += usize::from(held.step != self.step);
                (held.document, held.step) = (document, self.step);
            }
            Ok(None) => {}
            Err(place) => {
                self.changed_documents += 1;
                slot.shadows.insert(place, Held { name: name.cloned(), document, step: self.step });
            }
        }
    }

    /// A device is gone, with all of its shadows.
    pub(super) fn forget(&mut self, device: &DeviceId) {
        let slot = self.young.remove(device);
        self.young_bytes = self.young_bytes.saturating_sub(slot.map_or(0, |slot| slot.bytes()));
        self.old.remove(device);
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
        self.changed_documents + self.forgotten.len() >= UNSAVED || self.changed_bytes >= UNSAVED_BYTES
    }

    /// What changed since the last call, in the order of keys, and the number of the step that it makes.
    pub(super) fn capture(&mut self) -> (u64, Vec<Changed>, Vec<DeviceId>) {
        let mut devices = std::mem::take(&mut self.changed);
        devices.sort_unstable();
        devices.dedup();
        let mut changed = Vec::with_capacity(self.changed_documents);
        for device in devices {
            // One that is gone by now is among the forgotten.
            let Some(slot) = self.young.get(&device).or_else(|| self.old.get(&device)) else { continue };
            let of_step = slot.shadows.iter().filter(|held| held.step == self.step);
            changed.extend(of_step.map(|held| (device.clone(), held.name.clone(), Arc::clone(&held.document))));
        }
        let number = self.step;
        self.step += 1;
        (self.changed_documents, self.changed_bytes) = (0, 0);
        (number, changed, std::mem::take(&mut self.forgotten).into_iter().collect())
    }

    /// A step is stored, and those before it.
    pub(super) fn are_saved(&mut self, step: u64) {
        self.saved = self.saved.max(step);
        self.leaving.retain(|_, leaves| *leaves > step);
    }

    /// Leaves out what was not used for long, if there is too much. Between two batches: what one touches stays for it.
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

    #[test]
    fn a_step_has_each_document_once_in_the_order_of_keys() {
        let mut cache = Cache::new(1 << 20);
        let name: ShadowName = "fw".parse().unwrap();
        for number in [3, 1, 2] {
            cache.insert(device(number), Slot::of(vec![(None, document(1))]));
        }
        cache.set(&device(3), None, document(2));
        cache.set(&device(1), Some(&name), document(1));
        cache.set(&device(3), None, document(3));
        // Gone and made again, with a change before and after.
        cache.forget(&device(1));
        cache.insert(device(1), Slot::default());
        cache.set(&device(1), None, document(7));
        let (_, changed, forgotten) = cache.capture();
        assert_eq!(changed, [(device(1), None, document(7)), (device(3), None, document(3))]);
        assert_eq!(forgotten, [device(1)]);
        // Of a device that changes again, only what changed.
        cache.set(&device(1), Some(&name), document(1));
        let (_, changed, _) = cache.capture();
        assert_eq!(changed, [(device(1), Some(name), document(1))]);
    }
}

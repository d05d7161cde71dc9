//! Devices as windows know them: what time each says it is, and when it was heard last.

use std::{cmp::Reverse, collections::BinaryHeap};

use hashbrown::HashMap;

use super::clock::Clock;

/// Milliseconds without a message from which on a device is idle.
pub(super) const IDLE: i64 = 30_000;
/// How far ahead of the hub's clock the time of a message may be.
pub(super) const FUTURE: i64 = 5 * 60_000;
/// A device that was silent for so long, and has no window open, is forgotten: what it says next begins anew.
const FORGOTTEN: i64 = 24 * HOUR;
const HOUR: i64 = 3_600_000;
/// Bytes that a device takes beside its name, about.
const SOURCE_BYTES: usize = 160;

#[derive(Debug)]
pub(super) struct Source {
    /// The latest time that it has said.
    pub(super) latest: i64,
    /// When its last message was accepted.
    pub(super) heard: i64,
    /// It is not idle. Only where one watermark is common to all.
    pub(super) active: bool,
    /// Of its own windows, where it has some.
    pub(super) clock: Clock,
    /// When a tick would do something, as it stands in the heap.
    due: Option<i64>,
    /// It stands in the heaps of what is common.
    ranked: bool,
    timed: bool,
}

/// Devices by name.
#[derive(Debug)]
pub(super) struct Sources {
    lateness: i64,
    names: HashMap<Box<str>, u32>,
    sources: Vec<Option<Source>>,
    free: Vec<u32>,
    /// When ticks would do something. One entry that counts for each device with open windows.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    pub(super) common: Fleet,
    /// The last hour in which devices were forgotten.
    pub(super) swept: i64,
    bytes: usize,
}

/// The watermark of windows that hold messages of several devices: the lowest of those that are not idle.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) clock: Clock,
    /// The latest time that any device has said, and when the last message of any was accepted.
    pub(super) latest: i64,
    pub(super) heard: i64,
    /// Watermarks of the active devices, or lower ones in their place.
    lowest: BinaryHeap<Reverse<(i64, u32)>>,
    /// When active devices become idle, or earlier times in their place.
    idle: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Default for Fleet {
    fn default() -> Self {
        let (lowest, idle) = (BinaryHeap::new(), BinaryHeap::new());
        Self { clock: Clock::default(), latest: i64::MIN, heard: i64::MIN, lowest, idle }
    }
}

impl Source {
    pub(super) fn new(latest: i64, heard: i64) -> Self {
        Self { latest, heard, active: false, clock: Clock::default(), due: None, ranked: false, timed: false }
    }

    /// From when on a tick would close its first window.
    fn closes_at(&self, lateness: i64) -> Option<i64> {
        let end = self.clock.first_end()?;
        Some(self.heard + IDLE + (end - self.latest + lateness).max(0))
    }

    /// Its watermark at a tick, if it is idle then: its clock goes on with the hub's.
    fn idle_watermark(&self, tick: i64, lateness: i64) -> Option<i64> {
        let silent = tick - self.heard;
        (silent >= IDLE).then(|| self.latest + silent - IDLE - lateness)
    }
}

impl Sources {
    pub(super) fn new(lateness: i64) -> Self {
        Self {
            lateness,
            names: HashMap::new(),
            sources: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            common: Fleet::default(),
            swept: i64::MIN,
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get_mut(&mut self, source: u32) -> Option<&mut Source> {
        self.sources.get_mut(source as usize)?.as_mut()
    }

    fn get(&self, source: u32) -> Option<&Source> {
        self.sources.get(source as usize)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32, &Source)> {
        self.names.iter().filter_map(|(name, number)| Some((&**name, *number, self.get(*number)?)))
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    pub(super) fn add(&mut self, name: &str, source: Source) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.sources.push(None);
            (self.sources.len() - 1) as u32
        });
        if let Some(place) = self.sources.get_mut(number as usize) {
            *place = Some(source);
        }
        self.names.insert(name.into(), number);
        self.bytes += SOURCE_BYTES + name.len();
        number
    }

    /// A message of a device that is known came in.
    pub(super) fn hear(&mut self, number: u32, time: i64, accepted_at: i64) {
        if let Some(source) = self.get_mut(number) {
            source.latest = source.latest.max(time);
            source.heard = source.heard.max(accepted_at);
        }
        self.common.latest = self.common.latest.max(time);
        self.common.heard = self.common.heard.max(accepted_at);
    }

    // === windows of one device ===

    /// The watermark that a device has come to by what it says.
    pub(super) fn own_watermark(&self, number: u32) -> i64 {
        self.get(number).map_or(i64::MIN, |source| source.latest - self.lateness)
    }

    /// Takes care that a tick is asked for when one would close something.
    pub(super) fn schedule(&mut self, number: u32) {
        let lateness = self.lateness;
        let Some(source) = self.get_mut(number) else { return };
        let Some(due) = source.closes_at(lateness) else { return };
        if source.due.is_none_or(|known| due < known) {
            source.due = Some(due);
            self.due.push(Reverse((due, number)));
        }
    }

    /// The next device with windows that close by a tick, and its watermark then.
    pub(super) fn next_idle(&mut self, tick: i64) -> Option<(u32, i64)> {
        let lateness = self.lateness;
        while let Some(due) = self.first_due()
            && due <= tick
        {
            let Reverse((_, number)) = self.due.pop()?;
            let source = self.get_mut(number)?;
            source.due = None;
            if let Some(watermark) = source.idle_watermark(tick, lateness) {
                return Some((number, watermark));
            }
        }
        None
    }

    /// When a tick would close a window of a device. Entries that have become wrong are put right on the way.
    pub(super) fn first_due(&mut self) -> Option<i64> {
        let lateness = self.lateness;
        loop {
            let Reverse((due, number)) = *self.due.peek()?;
            let actual = match self.get_mut(number).filter(|source| source.due == Some(due)) {
                Some(source) => match source.closes_at(lateness) {
                    Some(actual) if actual <= due => return Some(due),
                    actual => {
                        source.due = actual;
                        actual
                    }
                },
                None => None,
            };
            self.due.pop();
            if let Some(actual) = actual {
                self.due.push(Reverse((actual, number)));
            }
        }
    }

    // === windows of several devices ===

    /// The device has a say in the common watermark.
    pub(super) fn activate(&mut self, number: u32) {
        let lateness = self.lateness;
        let Some(source) = self.get_mut(number) else { return };
        source.active = true;
        let (watermark, idle_at) = (source.latest - lateness, source.heard + IDLE);
        let (ranked, timed) = (std::mem::replace(&mut source.ranked, true), std::mem::replace(&mut source.timed, true));
        if !ranked {
            self.common.lowest.push(Reverse((watermark, number)));
        }
        if !timed {
            self.common.idle.push(Reverse((idle_at, number)));
        }
    }

    /// The active device that holds the common watermark, and where.
    fn lowest(&mut self) -> Option<(i64, u32)> {
        let lateness = self.lateness;
        loop {
            let Reverse((watermark, number)) = *self.common.lowest.peek()?;
            let actual = match self.get_mut(number) {
                Some(source) if source.active => {
                    let actual = source.latest - lateness;
                    if actual <= watermark {
                        return Some((watermark, number));
                    }
                    Some(actual)
                }
                Some(source) => {
                    source.ranked = false;
                    None
                }
                None => None,
            };
            self.common.lowest.pop();
            if let Some(actual) = actual {
                self.common.lowest.push(Reverse((actual, number)));
            }
        }
    }

    /// The common watermark after a message.
    pub(super) fn common_watermark(&mut self) -> i64 {
        self.lowest().map_or(i64::MIN, |(watermark, _)| watermark)
    }

    /// The common watermark at a tick, after which idle devices have no say.
    pub(super) fn common_watermark_at(&mut self, tick: i64) -> i64 {
        while let Some(Reverse((idle_at, number))) = self.common.idle.peek().copied()
            && idle_at <= tick
        {
            self.common.idle.pop();
            let Some(source) = self.get_mut(number) else { continue };
            let idle_at = source.heard + IDLE;
            if source.active && idle_at > tick {
                self.common.idle.push(Reverse((idle_at, number)));
                continue;
            }
            (source.active, source.timed) = (false, false);
        }
        let Fleet { latest, heard, .. } = self.common;
        match self.lowest() {
            Some((watermark, _)) => watermark,
            None if latest > i64::MIN && tick - heard >= IDLE => latest + (tick - heard) - IDLE - self.lateness,
            None => i64::MIN,
        }
    }

    /// When a tick would move the common watermark past the end of a window.
    pub(super) fn common_due(&mut self) -> Option<i64> {
        let end = self.common.clock.first_end()?;
        let Fleet { latest, heard, .. } = self.common;
        let beyond = end - (latest - self.lateness);
        if beyond > 0 {
            // No device has come so far: their clocks must go on with the hub's.
            return Some(heard + IDLE + beyond);
        }
        let holder = self.lowest().and_then(|(_, number)| self.get(number)).map_or(heard, |source| source.heard);
        Some(holder + IDLE)
    }

    /// Forgets devices that have been silent for long. Looked at once an hour, by ticks.
    pub(super) fn forget(&mut self, tick: i64) {
        let hour = tick.div_euclid(HOUR);
        if hour <= self.swept {
            return;
        }
        self.swept = hour;
        let (sources, free, bytes) = (&mut self.sources, &mut self.free, &mut self.bytes);
        self.names.retain(|name, number| {
            let Some(place) = sources.get_mut(*number as usize) else { return false };
            let is_gone = place.as_ref().is_none_or(|source| {
                !source.active && source.heard < tick - FORGOTTEN && source.clock.first_end().is_none()
            });
            if is_gone {
                *place = None;
                free.push(*number);
                *bytes -= SOURCE_BYTES + name.len();
            }
            !is_gone
        });
    }
}

//! Which segments there are, where they end, and about where in them an offset stands.

use std::{collections::VecDeque, sync::Arc};

use weir_core::{Offset, Timestamp};

use super::{Segment, SegmentName};

/// Bytes between two places that are remembered.
const INDEX_STEP: u64 = 256 << 10;

/// The segments of a log in order. The last one is being written, the others are sealed.
#[derive(Debug, Default)]
pub(crate) struct SegmentList {
    entries: VecDeque<Entry>,
    /// Bytes of all of them.
    bytes: u64,
}

/// A segment in the list.
#[derive(Debug)]
pub(crate) struct Entry {
    segment: Arc<Segment>,
    /// Bytes of header and whole frames.
    length: u64,
    /// One past the last record; of a segment without records, one past the last record before it.
    end: Offset,
    /// Offsets at which frames begin, and where in the file.
    index: Vec<(Offset, u64)>,
}

/// A frame's beginning.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) segment: Arc<Segment>,
    pub(crate) at: u64,
    /// The offset of the frame there.
    pub(crate) next: Offset,
}

/// What retention needs to know of a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// Every record in it was accepted before.
    pub(crate) sealed_at: Timestamp,
}

impl SegmentList {
    /// Adds a segment behind the others. It is the one being written from now on, if more are written.
    pub(crate) fn push(&mut self, segment: Arc<Segment>, length: u64, end: Offset) {
        let index = vec![(segment.first(), segment.header_bytes)];
        self.entries.push_back(Entry { segment, length, end, index });
        self.bytes += length;
    }

    /// Notes that a frame up to `end` was written at the end of the last segment, which is `length` bytes long now.
    pub(crate) fn grow(&mut self, length: u64, end: Offset) {
        if let Some(entry) = self.entries.back_mut() {
            entry.note(end, length);
            self.bytes += length - entry.length;
            (entry.length, entry.end) = (length, end);
        }
    }

    /// Remembers that a frame with offset `next` begins (or the segment ends) at `at`.
    pub(crate) fn note(&mut self, segment: &Segment, next: Offset, at: u64) {
        if let Some(entry) = self.find(segment).ok().and_then(|n| self.entries.get_mut(n)) {
            entry.note(next, at);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Every record at this offset or after is still held.
    pub(crate) fn oldest(&self) -> Offset {
        self.entries.front().map_or(Offset::ZERO, |entry| entry.segment.previous)
    }

    /// A frame's beginning from which one comes to the first record at or after `position` by reading on.
    pub(crate) fn locate(&self, position: Offset) -> Option<Place> {
        let entry = self.entries.get(self.entries.partition_point(|entry| entry.end <= position))?;
        let known = entry.index.partition_point(|(offset, _)| *offset <= position);
        let (next, at) = entry.index.get(known.saturating_sub(1)).copied()?;
        Some(Place { segment: Arc::clone(&entry.segment), at, next })
    }

    /// Bytes of header and whole frames of a segment, if it was not dropped.
    pub(crate) fn length(&self, segment: &Segment) -> Option<u64> {
        self.entries.get(self.find(segment).ok()?).map(|entry| entry.length)
    }

    /// The segment that follows.
    pub(crate) fn after(&self, segment: &Segment) -> Option<Arc<Segment>> {
        let following = self.find(segment).map_or_else(|place| place, |n| n + 1);
        self.entries.get(following).map(|entry| Arc::clone(&entry.segment))
    }

    /// Which entry a segment is or, if it was dropped, would be.
    fn find(&self, segment: &Segment) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&segment.name, |entry| entry.segment.name)
    }

    /// The segment being written, if it has records.
    pub(crate) fn growing(&self) -> Option<&Segment> {
        let has_frames = |entry: &&Entry| entry.length > entry.segment.header_bytes;
        self.entries.back().filter(has_frames).map(|entry| entry.segment.as_ref())
    }

    /// All but the last segment, oldest first.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = Sealed> {
        self.entries.iter().zip(self.entries.iter().skip(1)).map(|(entry, next)| Sealed {
            end: entry.end,
            bytes: entry.length,
            sealed_at: next.segment.created_at,
        })
    }

    /// Takes the oldest segment off the list, unless it is the last.
    pub(crate) fn take_oldest(&mut self) -> Option<Entry> {
        let entry = if self.entries.len() < 2 { None } else { self.entries.pop_front() };
        self.bytes -= entry.as_ref().map_or(0, |entry| entry.length);
        entry
    }

    /// Undoes [`SegmentList::take_oldest`].
    pub(crate) fn put_back(&mut self, entry: Entry) {
        self.bytes += entry.length;
        self.entries.push_front(entry);
    }

    /// Takes the sealed segments without records off the list.
    pub(crate) fn take_empty(&mut self) -> Vec<Arc<Segment>> {
        let last = self.entries.back().map(|entry| entry.segment.name);
        let empty = |entry: &Entry| entry.length == entry.segment.header_bytes && Some(entry.segment.name) != last;
        let taken: Vec<_> =
            self.entries.iter().filter(|entry| empty(entry)).map(|entry| Arc::clone(&entry.segment)).collect();
        self.entries.retain(|entry| !empty(entry));
        self.bytes -= taken.iter().map(|segment| segment.header_bytes).sum::<u64>();
        taken
    }
}

impl Entry {
    pub(crate) fn name(&self) -> SegmentName {
        self.segment.name
    }

    fn note(&mut self, next: Offset, at: u64) {
        if self.index.last().is_none_or(|(_, known)| known + INDEX_STEP <= at) {
            self.index.push((next, at));
        }
    }
}

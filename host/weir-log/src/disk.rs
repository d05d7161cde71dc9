//! Frames read back from segments, for readers that are behind and for history. Everything here blocks.
//!
//! Nothing is taken on trust: a frame that is not what was written, or not the one that must follow, is an error with
//! its place.

use std::{io, sync::Arc};

use arrow::buffer::Buffer;
use parking_lot::Mutex;
use weir_core::Offset;

use crate::{
    Frame, ReadError,
    frame::{FrameHeader, HEADER_BYTES, aligned},
    segment::{Place, Segment, SegmentList},
    storage::{ReadFile, Storage},
};

/// Bytes that are read ahead, and about those that one call returns.
const CHUNK_BYTES: u64 = 1 << 20;

/// A file through which one goes from front to back, with what was read ahead.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn ReadFile>,
    start: u64,
    bytes: Buffer,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn ReadFile>) -> Self {
        Self { file, start: 0, bytes: Buffer::default() }
    }

    /// `length` bytes at `at`, of a file whose first `end` bytes may be read. `None` if they go beyond its end.
    pub(crate) fn bytes(&mut self, at: u64, length: usize, end: u64) -> io::Result<Option<&[u8]>> {
        let Some(range) = self.fill(at, length, end)? else { return Ok(None) };
        Ok(self.bytes.get(range))
    }

    /// The header at `at` and its whole frame. `None` if there is no header, or the frame goes beyond `end`; the
    /// checksum is not verified.
    pub(crate) fn frame(&mut self, at: u64, end: u64) -> io::Result<Option<(FrameHeader, Buffer)>> {
        let Some(header) = self.bytes(at, HEADER_BYTES, end)?.and_then(FrameHeader::parse) else { return Ok(None) };
        let Some(range) = self.fill(at, header.frame_bytes(), end)? else { return Ok(None) };
        Ok(Some((header, self.bytes.slice_with_length(range.start, range.len()))))
    }

    /// Makes sure that the window holds these bytes, and says where.
    fn fill(&mut self, at: u64, length: usize, end: u64) -> io::Result<Option<std::ops::Range<usize>>> {
        let Some(available) = end.checked_sub(at).filter(|available| *available >= length as u64) else {
            return Ok(None);
        };
        let held = |start: u64| usize::try_from(at.checked_sub(start)?).ok();
        if let Some(from) = held(self.start).filter(|from| from + length <= self.bytes.len()) {
            return Ok(Some(from..from + length));
        }
        let wanted = (length as u64).max(CHUNK_BYTES.min(available));
        let mut bytes = aligned(usize::try_from(wanted).map_err(io::Error::other)?);
        match self.file.read_exact_at(bytes.as_slice_mut(), at) {
            // The file is shorter than it was: whoever asks knows where.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            outcome => outcome?,
        }
        (self.start, self.bytes) = (at, bytes.into());
        Ok(Some(0..length))
    }
}

/// A place in the log from which frames are read on.
#[derive(Debug)]
pub(crate) struct Cursor {
    segment: Arc<Segment>,
    window: Window,
    at: u64,
    /// The offset of the frame at `at`.
    next: Offset,
}

/// What frames are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) segments: &'a Mutex<SegmentList>,
}

impl Source<'_> {
    /// Reads some of the frames with records at or after `position` and below `limit`: at least one, if the log holds
    /// one. `cursor` is where the last call ended, if it did at `position`; it is moved on.
    pub(crate) fn read(
        self,
        cursor: &mut Option<Cursor>,
        position: Offset,
        limit: Offset,
    ) -> Result<Vec<Arc<Frame>>, ReadError> {
        let mut from = match cursor.take().filter(|cursor| cursor.next == position) {
            Some(cursor) => cursor,
            None => self.seek(position)?,
        };
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while from.next < limit && bytes < CHUNK_BYTES {
            match self.step(&mut from, position) {
                Ok(Some(frame)) => {
                    // Payloads are most of what a frame takes in memory, compressed or not.
                    bytes += (frame.records.payload.values().len() as u64).max(1_024);
                    frames.push(Arc::new(frame));
                }
                Ok(None) => {}
                Err(error) if frames.is_empty() => return Err(error),
                // What comes before is good. The next call finds the error again.
                Err(_) => break,
            }
        }
        *cursor = Some(from);
        Ok(frames)
    }

    /// Moves the cursor past one frame, or into the next segment. Returns the frame, unless all of it is below
    /// `position`.
    fn step(self, cursor: &mut Cursor, position: Offset) -> Result<Option<Frame>, ReadError> {
        let Some(end) = self.segments.lock().length(&cursor.segment) else {
            return Err(self.overtaken(cursor.next).unwrap_or_else(|| cursor.damaged("the segment was dropped")));
        };
        if cursor.at == end {
            let following = self.segments.lock().after(&cursor.segment);
            *cursor = cursor.follow(following, self)?;
            return Ok(None);
        }
        let (header, bytes) = cursor.read_frame(end)?;
        let frame = if header.next() > position {
            let decoded = header.decode(&bytes, &cursor.segment.columns);
            Some(decoded.ok_or_else(|| cursor.damaged("a frame is not a batch of records"))?)
        } else {
            None
        };
        cursor.at += bytes.len() as u64;
        cursor.next = header.next();
        self.segments.lock().note(&cursor.segment, cursor.next, cursor.at);
        Ok(frame)
    }

    fn seek(self, position: Offset) -> Result<Cursor, ReadError> {
        if let Some(overtaken) = self.overtaken(position) {
            return Err(overtaken);
        }
        let nothing = || ReadError::Io { segment: "none".to_owned(), reason: format!("nothing follows {position}") };
        let place = self.segments.lock().locate(position).ok_or_else(nothing)?;
        place.open(self.storage).map_err(|error| self.overtaken(position).unwrap_or(error))
    }

    /// The error of a reader at `position`, if retention went over it.
    pub(crate) fn overtaken(self, position: Offset) -> Option<ReadError> {
        let oldest = self.segments.lock().oldest();
        (position < oldest).then_some(ReadError::Overtaken { position, oldest })
    }
}

impl Place {
    fn open(self, storage: &dyn Storage) -> Result<Cursor, ReadError> {
        let name = self.segment.name.to_string();
        let file = storage.open(&name).map_err(|error| ReadError::Io { segment: name, reason: error.to_string() })?;
        Ok(Cursor { segment: self.segment, window: Window::new(file), at: self.at, next: self.next })
    }
}

impl Cursor {
    /// The verified frame at the cursor.
    fn read_frame(&mut self, end: u64) -> Result<(FrameHeader, Buffer), ReadError> {
        let found = self
            .window
            .frame(self.at, end)
            .map_err(|error| ReadError::Io { segment: self.segment.name.to_string(), reason: error.to_string() })?;
        let (header, frame) = found.ok_or_else(|| self.damaged("a frame is cut off or has no header"))?;
        if !header.verify(self.segment.salt, &frame) {
            return Err(self.damaged("a frame has a wrong checksum"));
        }
        if header.first != self.next {
            return Err(self.damaged("a frame does not follow the one before"));
        }
        Ok((header, frame))
    }

    /// Goes on to the segment that follows this one, all of which was read. There must be one.
    fn follow(&self, following: Option<Arc<Segment>>, source: Source<'_>) -> Result<Self, ReadError> {
        let is_empty = self.at == self.segment.header_bytes;
        let follows = |following: &Arc<Segment>| {
            following.previous == self.next || (is_empty && following.previous <= self.segment.first())
        };
        let Some(following) = following.filter(follows) else {
            return Err(source.overtaken(self.next).unwrap_or_else(|| self.damaged("frames are lacking at its end")));
        };
        let (at, next) = (following.header_bytes, following.first());
        let place = Place { segment: following, at, next };
        place.open(source.storage).map_err(|error| source.overtaken(self.next).unwrap_or(error))
    }

    fn damaged(&self, reason: &'static str) -> ReadError {
        ReadError::Corrupt { segment: self.segment.name.to_string(), position: self.at, reason }
    }
}

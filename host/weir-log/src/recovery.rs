//! What a log folder holds after whatever happened to it.
//!
//! Only the last segment can have been written to when the machine or the process died, so only its tail may be torn:
//! it is cut off, which loses nothing that was synced. A frame that is not what was written is
//!
//! * a torn tail, if no valid frame follows it: nothing says that it was ever whole;
//! * damage, if a later frame says that this one was on the disk when it was written;
//! * a torn tail, if no later frame says so and a part of it reads as zeros: a disk brings the pages that were not
//!   synced to their place in any order;
//! * damage otherwise.
//!
//! Damage is an error; nothing is ever skipped. A last segment whose header is not whole died while it was made,
//! before any offset of its epoch was given away.

use std::io;

use weir_core::Offset;

use crate::{
    OpenError,
    disk::Window,
    frame::{ALIGNMENT, FrameHeader, HEADER_BYTES, verified_header},
    segment::{HeaderError, MAX_HEADER_BYTES, Segment, SegmentList, SegmentName, VERSION, own_header_bytes},
    storage::Storage,
};

/// A file system fills what was not written with zeros in units of at least this many bytes.
const SECTOR_BYTES: u64 = 512;
/// Bytes by which the header of another program version may be longer than ours. Every frame is longer than that.
const HEADER_SLACK: u64 = 256;

#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) segments: SegmentList,
    /// One past the last record.
    pub(crate) end: Offset,
    /// The highest epoch of which there is a trace.
    pub(crate) epoch: u32,
}

/// Finds out what `storage` holds, and cuts off a torn tail.
pub(crate) fn recover(storage: &dyn Storage) -> Result<Recovered, OpenError> {
    let io_error = |what: &str, source| OpenError::Io { storage: storage.to_string(), what: what.to_owned(), source };
    let files = storage.list().map_err(|error| io_error("listing files", error))?;
    let mut names: Vec<_> = files.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.sort_unstable();
    let epoch = names.last().map_or(0, |name| name.first.epoch());

    let mut headers: Vec<(Segment, u64)> = Vec::with_capacity(names.len());
    for (n, name) in names.iter().enumerate() {
        let read = read_header(storage, *name).map_err(|error| io_error(&format!("reading {name}"), error));
        match read? {
            (Ok(segment), length) => {
                if let Some((before, before_length)) = headers.last()
                    && !follows(&segment, before, *before_length)
                {
                    return Err(damaged(*name, 0, "it does not follow the segment before"));
                }
                headers.push((segment, length));
            }
            (Err(HeaderError::Newer(version)), _) => {
                return Err(OpenError::NewerFormat { segment: name.to_string(), version, supported: VERSION });
            }
            (Err(HeaderError::Damaged(_)), length) if n + 1 == names.len() && is_unborn(length) => {
                tracing::warn!(segment = %name, bytes = length, "removing a segment that was never used");
                let removed = storage.remove(&name.to_string()).and_then(|()| storage.sync_directory());
                removed.map_err(|error| io_error(&format!("removing {name}"), error))?;
            }
            (Err(HeaderError::Damaged(reason)), _) => return Err(damaged(*name, 0, reason)),
        }
    }

    let mut segments = SegmentList::default();
    let mut end = Offset::ZERO;
    let last = headers.pop();
    let mut headers = headers.into_iter().peekable();
    while let Some((segment, length)) = headers.next() {
        // Where a segment ends, the next one says.
        let following = headers.peek().map(|(segment, _)| segment).or(last.as_ref().map(|(segment, _)| segment));
        end = following.map_or(end, |following| following.previous);
        segments.push(segment.into(), length, end);
    }
    if let Some((segment, length)) = last {
        end = recover_last(storage, segment, length, &mut segments)?;
    }
    Ok(Recovered { segments, end, epoch })
}

/// The header of a segment, and the length of the file.
fn read_header(storage: &dyn Storage, name: SegmentName) -> io::Result<(Result<Segment, HeaderError>, u64)> {
    let file = storage.open(&name.to_string())?;
    let length = file.length()?;
    let mut bytes = vec![0; usize::try_from(length.min(u64::from(MAX_HEADER_BYTES))).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok((Segment::parse(name, &bytes), length))
}

/// Whether a file of this length, without a valid header, can be one that was being made.
fn is_unborn(length: u64) -> bool {
    own_header_bytes().is_ok_and(|own| length <= own as u64 + HEADER_SLACK)
}

fn follows(segment: &Segment, before: &Segment, before_length: u64) -> bool {
    if before_length > before.header_bytes {
        segment.previous > before.first()
    } else {
        segment.previous == before.previous
    }
}

/// Adds the last segment to the list, its torn tail cut off. Returns the end of the log.
fn recover_last(
    storage: &dyn Storage,
    segment: Segment,
    length: u64,
    segments: &mut SegmentList,
) -> Result<Offset, OpenError> {
    let name = segment.name;
    let io_error = |source| OpenError::Io { storage: storage.to_string(), what: format!("reading {name}"), source };
    let mut window = Window::new(storage.open(&name.to_string()).map_err(io_error)?);
    let (mut at, mut next) = (segment.header_bytes, segment.first());
    let (salt, mut end) = (segment.salt, segment.previous);
    segments.push(segment.into(), at, end);
    while at < length {
        let frame = window.frame(at, length).map_err(io_error)?;
        let Some((header, _)) = frame.filter(|(header, bytes)| header.verify(salt, bytes)) else {
            if !is_torn(&mut window, salt, at, next, length).map_err(io_error)? {
                return Err(damaged(name, at, "a frame is not what was written, and valid ones follow"));
            }
            tracing::warn!(segment = %name, position = at, bytes = length - at, "cutting off a torn tail");
            storage.truncate(&name.to_string(), at).map_err(io_error)?;
            break;
        };
        if header.first != next {
            return Err(damaged(name, at, "a frame does not follow the one before"));
        }
        at += header.frame_bytes() as u64;
        next = header.next();
        end = next;
        segments.grow(at, end);
    }
    Ok(end)
}

/// Whether what stands from `at` on, where the frame with offset `expected` should stand and does not, was never
/// synced.
fn is_torn(window: &mut Window, salt: u64, at: u64, expected: Offset, end: u64) -> io::Result<bool> {
    let mut first_valid = None;
    let mut position = at + ALIGNMENT as u64;
    while position + (HEADER_BYTES as u64) < end {
        let Some(header) = valid_frame(window, salt, position, end)? else {
            position += ALIGNMENT as u64;
            continue;
        };
        if header.synced > expected {
            return Ok(false);
        }
        first_valid.get_or_insert(position);
        position += header.frame_bytes() as u64;
    }
    first_valid.map_or(Ok(true), |valid| has_hole(window, at, valid, end))
}

fn valid_frame(window: &mut Window, salt: u64, at: u64, end: u64) -> io::Result<Option<FrameHeader>> {
    let Some(header) = window.bytes(at, HEADER_BYTES, end)?.and_then(FrameHeader::parse) else { return Ok(None) };
    Ok(window.bytes(at, header.frame_bytes(), end)?.and_then(|bytes| verified_header(salt, bytes)))
}

/// Whether a sector between `from` and `to`, or what of the first one lies there, reads as zeros.
fn has_hole(window: &mut Window, from: u64, to: u64, end: u64) -> io::Result<bool> {
    let mut at = from;
    while at < to {
        let sector_end = (at + 1).next_multiple_of(SECTOR_BYTES);
        if sector_end > to {
            break;
        }
        let length = usize::try_from(sector_end - at).map_err(io::Error::other)?;
        if window.bytes(at, length, end)?.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0)) {
            return Ok(true);
        }
        at = sector_end;
    }
    Ok(false)
}

fn damaged(name: SegmentName, position: u64, reason: &'static str) -> OpenError {
    OpenError::Corrupt { segment: name.to_string(), position, reason }
}

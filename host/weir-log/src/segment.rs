//! Segments: append-only files of frames.
//!
//! A segment begins with a header that says where in the log it stands (numbers are little-endian):
//!
//! ```text
//! "WEIRLOG\0" | version u32 | length u32 | epoch u32 | schema length u32 | first offset u64 | previous offset u64
//!   | created at i64 | salt u64 | schema … | padding | crc32c u32
//! ```
//!
//! `length` is that of the header, a multiple of eight; the schema is a message of Arrow's IPC format; `previous` is
//! one past the last record before this segment, so that a segment that lost its end is noticed. In every version of
//! the format the first sixteen bytes and the checksum at the end of the header mean the same: a newer version is
//! refused by its number, not taken for damage.
//!
//! Frames follow without gaps. A segment never holds offsets of two epochs.

mod list;

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    io,
    sync::Arc,
};

use arrow::error::ArrowError;
use arrow_ipc::{
    convert::try_schema_from_flatbuffer_bytes,
    writer::{DictionaryTracker, IpcDataGenerator},
};
use weir_core::{Offset, Timestamp, schema::RECORD_SCHEMA};

pub(crate) use self::list::{Place, Sealed, SegmentList};
use crate::{
    frame::{ALIGNMENT, Columns, ipc_options, u32_at, u64_at},
    storage::{AppendFile, Storage},
};

/// The version of the format that is written, and the highest that is read.
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8] = b"WEIRLOG\0";
/// Bytes that mean the same in every version.
const PREFIX_BYTES: usize = 16;
const SCHEMA_AT: usize = 56;
/// No header is longer: more is damage.
pub(crate) const MAX_HEADER_BYTES: u32 = 64 << 10;

/// What a segment's header says.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    pub(crate) previous: Offset,
    pub(crate) created_at: Timestamp,
    pub(crate) salt: u64,
    pub(crate) columns: Columns,
    pub(crate) header_bytes: u64,
}

/// Where a segment stands, as its file's name says it: `EPOCH-INDEX.seg` in hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    /// The offset of the first record, if there is one.
    pub(crate) first: Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Newer(u32),
    Damaged(&'static str),
}

impl Segment {
    pub(crate) fn first(&self) -> Offset {
        self.name.first
    }

    /// Makes a segment that survives a crash, with nothing in it.
    pub(crate) fn create(
        storage: &dyn Storage,
        first: Offset,
        previous: Offset,
        now: Timestamp,
    ) -> io::Result<(Arc<Self>, Box<dyn AppendFile>)> {
        let name = SegmentName { first };
        // The standard library's hashers are keyed with random bytes of the operating system.
        let salt = RandomState::new().build_hasher().finish();
        let header = header(first, previous, now, salt).map_err(io::Error::other)?;
        let mut file = storage.create(&name.to_string())?;
        file.append(&header)?;
        file.sync()?;
        storage.sync_directory()?;
        let columns = Columns::new(RECORD_SCHEMA.as_ref().clone()).ok_or(io::ErrorKind::InvalidData)?;
        let header_bytes = header.len() as u64;
        Ok((Arc::new(Self { name, previous, created_at: now, salt, columns, header_bytes }), file))
    }

    /// Takes a header apart; `bytes` may go on behind it.
    pub(crate) fn parse(name: SegmentName, bytes: &[u8]) -> Result<Self, HeaderError> {
        let length = header_bytes(bytes).ok_or(HeaderError::Damaged("it does not begin as a segment"))?;
        let header = bytes.get(..length).ok_or(HeaderError::Damaged("its header is cut off"))?;
        let (content, checksum) = header.split_at_checked(length - 4).unwrap_or_default();
        if u32_at(checksum, 0) != Some(crc32c::crc32c(content)) {
            return Err(HeaderError::Damaged("its header has a wrong checksum"));
        }
        let version = u32_at(content, 8).unwrap_or_default();
        if version > VERSION {
            return Err(HeaderError::Newer(version));
        }
        Self::parse_content(name, content).ok_or(HeaderError::Damaged("its header contradicts itself"))
    }

    fn parse_content(name: SegmentName, content: &[u8]) -> Option<Self> {
        let (epoch, schema_bytes) = (u32_at(content, 16)?, u32_at(content, 20)? as usize);
        let (first, previous) = (Offset(u64_at(content, 24)?), Offset(u64_at(content, 32)?));
        let created_at = Timestamp(u64_at(content, 40)?.cast_signed());
        let salt = u64_at(content, 48)?;
        let schema = content.get(SCHEMA_AT..SCHEMA_AT.checked_add(schema_bytes)?)?;
        let columns = Columns::new(try_schema_from_flatbuffer_bytes(schema).ok()?)?;
        let consistent = first == name.first && first.epoch() == epoch && previous <= first;
        let header_bytes = content.len() as u64 + 4;
        consistent.then_some(Self { name, previous, created_at, salt, columns, header_bytes })
    }
}

/// The length of the header at the start of `bytes`, if there can be one.
pub(crate) fn header_bytes(bytes: &[u8]) -> Option<usize> {
    let length = u32_at(bytes, 12)?;
    let plausible = bytes.starts_with(MAGIC)
        && (length as usize).is_multiple_of(ALIGNMENT)
        && (PREFIX_BYTES as u32..=MAX_HEADER_BYTES).contains(&length);
    plausible.then_some(length as usize)
}

/// Bytes of the headers that this program writes.
pub(crate) fn own_header_bytes() -> Result<usize, ArrowError> {
    Ok(header(Offset::ZERO, Offset::ZERO, Timestamp(0), 0)?.len())
}

fn header(first: Offset, previous: Offset, created_at: Timestamp, salt: u64) -> Result<Vec<u8>, ArrowError> {
    let mut dictionaries = DictionaryTracker::new(false);
    let schema = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        &RECORD_SCHEMA,
        &mut dictionaries,
        &ipc_options()?,
    );
    let schema = schema.ipc_message;
    let length = (SCHEMA_AT + schema.len() + 4).next_multiple_of(ALIGNMENT);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(MAGIC);
    for word in [VERSION, length as u32, first.epoch(), schema.len() as u32] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for word in [first.0, previous.0, created_at.0.cast_unsigned(), salt] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&schema);
    bytes.resize(length - 4, 0);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    Ok(bytes)
}

impl SegmentName {
    /// `None` for files that are not segments.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (epoch, index) = name.strip_suffix(".seg")?.split_once('-')?;
        let parsed =
            Self { first: Offset::new(u32::from_str_radix(epoch, 16).ok()?, u64::from_str_radix(index, 16).ok()?) };
        // Only the one way to write it, so that two files never claim the same place.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:010x}.seg", self.first.epoch(), self.first.index())
    }
}

#[cfg(test)]
mod tests;

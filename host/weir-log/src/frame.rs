//! Frames: groups of records that were written together, in memory and on disk.
//!
//! On disk a frame is (numbers are little-endian)
//!
//! ```text
//! magic u32 | length u32 | crc32c u32 | rows u32 | first offset u64 | synced offset u64 | record batch …
//! ```
//!
//! where the record batch is one encapsulated message of Arrow's IPC format, `length` bytes, a multiple of eight. The
//! checksum covers the segment's salt and everything but itself and the magic; it is verified before Arrow sees a
//! byte. Because of the salt, what a device sends, or what an older file left on the disk, is never taken for a frame.
//! All records below the synced offset were on the disk when the frame was written, which tells recovery what may be
//! missing after a power cut.

mod batch;

use std::fmt;

use arrow::{
    array::RecordBatch,
    buffer::{Buffer, MutableBuffer},
    error::ArrowError,
};
use arrow_ipc::{
    CompressionType, MetadataVersion,
    writer::{IpcWriteOptions, StreamWriter},
};
use weir_core::{
    Offset, Qos,
    schema::{Kind, RECORD_SCHEMA, Records, SchemaError},
};

pub(crate) use self::batch::Columns;

/// Bytes before the record batch.
pub(crate) const HEADER_BYTES: usize = 32;
/// Every frame, and every buffer in it, starts at a multiple of this.
pub(crate) const ALIGNMENT: usize = 8;
const MAGIC: u32 = u32::from_le_bytes(*b"WFRM");
/// The index within its epoch that no record reaches: offsets have no place for it.
pub(crate) const MAX_INDEX: u64 = 1 << 40;
/// Rows from which lz4 saves more time in writing than it takes.
const COMPRESSED_ROWS: usize = 64;

/// Records that were written together, in offset order and without gaps.
#[derive(Clone)]
pub struct Frame {
    pub first: Offset,
    /// One past the last record.
    pub next: Offset,
    /// The columns of [`RECORD_SCHEMA`].
    pub batch: RecordBatch,
    /// The columns of `batch`, typed. Boxed, so that whoever only remembers a frame ([`std::sync::Weak`]) holds little of it.
    pub records: Box<Records>,
    /// Whether there is a message with QoS ≥ 1 or a control record among them.
    pub acknowledged: bool,
}

impl Frame {
    fn from_batch(first: Offset, batch: RecordBatch) -> Result<Self, SchemaError> {
        let records = Box::new(Records::try_from(&batch)?);
        let acknowledged = records.qos.values().iter().any(|qos| *qos != Qos::AtMostOnce as u8)
            || records.kind.values().iter().any(|kind| *kind != Kind::Message as u8);
        Ok(Self { first, next: first.plus(records.len() as u64), batch, records, acknowledged })
    }

    /// The frame without the records below `offset`, which lies within it.
    pub(crate) fn starting_at(&self, offset: Offset) -> Result<Self, SchemaError> {
        let skipped = usize::try_from(offset.0 - self.first.0).unwrap_or(usize::MAX).min(self.batch.num_rows());
        Self::from_batch(offset, self.batch.slice(skipped, self.batch.num_rows() - skipped))
    }

    /// Bytes the frame takes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + size_of::<Records>() + self.batch.get_array_memory_size()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("first", &self.first).field("next", &self.next).finish_non_exhaustive()
    }
}

/// What stands before a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the record batch.
    length: u32,
    checksum: u32,
    rows: u32,
    pub(crate) first: Offset,
    /// One past the last record that was on the disk when this frame was written.
    pub(crate) synced: Offset,
}

impl FrameHeader {
    /// Reads a header. `None` if these bytes cannot be one; nothing else is verified.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let header = Self {
            length: u32_at(bytes, 4)?,
            checksum: u32_at(bytes, 8)?,
            rows: u32_at(bytes, 12)?,
            first: Offset(u64_at(bytes, 16)?),
            synced: Offset(u64_at(bytes, 24)?),
        };
        let plausible = u32_at(bytes, 0)? == MAGIC
            && header.rows > 0
            && header.length > 0
            && (header.length as usize).is_multiple_of(ALIGNMENT)
            && header.first.index().checked_add(u64::from(header.rows)).is_some_and(|next| next < MAX_INDEX);
        plausible.then_some(header)
    }

    /// Puts the header at the start of `frame`.
    fn write(&self, frame: &mut [u8]) {
        let words = [MAGIC, self.length, self.checksum, self.rows].map(u32::to_le_bytes);
        let offsets = [self.first.0, self.synced.0].map(u64::to_le_bytes);
        let bytes = words.as_flattened().iter().chain(offsets.as_flattened());
        frame.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.length as usize
    }

    /// One past the last record.
    pub(crate) fn next(&self) -> Offset {
        self.first.plus(u64::from(self.rows))
    }

    /// Whether `frame`, the whole of it, is what was written.
    pub(crate) fn verify(&self, salt: u64, frame: &[u8]) -> bool {
        frame.len() == self.frame_bytes() && checksum(salt, frame) == self.checksum
    }

    /// The frame whose bytes these are. They must have been verified.
    pub(crate) fn decode(&self, frame: &Buffer, columns: &Columns) -> Option<Frame> {
        let batch = columns.decode(&frame.slice(HEADER_BYTES), self.rows)?;
        let frame = Frame::from_batch(self.first, batch).ok()?;
        let offsets = frame.records.offset.values();
        let consistent =
            offsets.first() == Some(&self.first.0) && offsets.last().is_some_and(|last| last + 1 == self.next().0);
        consistent.then_some(frame)
    }
}

/// Checks and takes apart the frame at the start of `bytes`, without decoding its batch.
pub(crate) fn verified_header(salt: u64, bytes: &[u8]) -> Option<FrameHeader> {
    let header = FrameHeader::parse(bytes)?;
    header.verify(salt, bytes.get(..header.frame_bytes())?).then_some(header)
}

fn checksum(salt: u64, frame: &[u8]) -> u32 {
    let part = |crc, range: Option<&[u8]>| crc32c::crc32c_append(crc, range.unwrap_or_default());
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    part(part(crc, frame.get(4..8)), frame.get(12..))
}

/// Makes frames into bytes. Its buffers are used again and again.
pub(crate) struct Encoder {
    plain: StreamWriter<Vec<u8>>,
    compressed: StreamWriter<Vec<u8>>,
    /// That of the frame encoded last.
    header: FrameHeader,
}

impl Encoder {
    pub(crate) fn new() -> Result<Self, ArrowError> {
        let plain = ipc_options()?;
        let compressed = plain.clone().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        Ok(Self {
            plain: StreamWriter::try_new_with_options(Vec::new(), &RECORD_SCHEMA, plain)?,
            compressed: StreamWriter::try_new_with_options(Vec::new(), &RECORD_SCHEMA, compressed)?,
            header: FrameHeader { length: 0, checksum: 0, rows: 0, first: Offset::ZERO, synced: Offset::ZERO },
        })
    }

    /// Encodes a frame but for its header, and says how many bytes it will have.
    pub(crate) fn encode(&mut self, frame: &Frame) -> Result<u64, ArrowError> {
        let too_large = |_| ArrowError::IpcError("frame exceeds 4 GiB".to_owned());
        let rows = u32::try_from(frame.batch.num_rows()).map_err(too_large)?;
        self.header = FrameHeader { rows, first: frame.first, ..self.header };
        let writer = self.writer();
        // What is in the buffer is the frame before or, at first, the schema, which stands in the segment's header.
        writer.get_mut().clear();
        writer.get_mut().resize(HEADER_BYTES, 0);
        writer.write(&frame.batch)?;
        let bytes = writer.get_ref().len();
        self.header.length = u32::try_from(bytes - HEADER_BYTES).map_err(too_large)?;
        Ok(bytes as u64)
    }

    /// The encoded frame as it stands in the segment with `salt`, at a moment when all below `synced` is on the disk.
    pub(crate) fn finish(&mut self, salt: u64, synced: Offset) -> &[u8] {
        let mut header = FrameHeader { synced, checksum: 0, ..self.header };
        let bytes = self.writer().get_mut();
        header.write(bytes);
        header.checksum = checksum(salt, bytes);
        header.write(bytes);
        bytes
    }

    fn writer(&mut self) -> &mut StreamWriter<Vec<u8>> {
        if (self.header.rows as usize) < COMPRESSED_ROWS { &mut self.plain } else { &mut self.compressed }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("header", &self.header).finish_non_exhaustive()
    }
}

/// How batches and schemas are written.
pub(crate) fn ipc_options() -> Result<IpcWriteOptions, ArrowError> {
    IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)
}

/// A buffer of `length` bytes that is aligned for every column type.
pub(crate) fn aligned(length: usize) -> MutableBuffer {
    MutableBuffer::from_len_zeroed(length)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests;

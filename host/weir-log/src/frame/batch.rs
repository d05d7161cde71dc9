//! Record batches out of bytes whose checksum was verified.
//!
//! Arrow's reader panics on metadata that contradicts the data. A verified checksum makes that all but impossible;
//! what is left, a file that somebody made up, is refused here.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{RecordBatch, new_null_array},
    buffer::Buffer,
    datatypes::{DataType, Schema, SchemaRef},
};
use arrow_ipc::{RecordBatch as Metadata, reader::RecordBatchDecoder, root_as_message};
use weir_core::schema::{ADDED_COLUMNS, RECORD_SCHEMA};

use super::{u32_at, u64_at};

/// Stands before the length of every message of Arrow's IPC format.
const CONTINUATION: u32 = u32::MAX;

/// Bytes that one column of a frame may have uncompressed: the reach of its offsets.
const MAX_COLUMN_BYTES: i64 = 1 << 31;

/// The columns that the frames of a segment have.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    stored: SchemaRef,
    /// Where those of [`RECORD_SCHEMA`] stand that are stored, when there are others too, or not all.
    projection: Option<Vec<usize>>,
}

impl Columns {
    /// `None` if a column is lacking, or of a kind that no version of the format has.
    pub(crate) fn new(stored: Schema) -> Option<Self> {
        if stored.fields() == RECORD_SCHEMA.fields() {
            return Some(Self { stored: RECORD_SCHEMA.clone(), projection: None });
        }
        let flat = stored.fields().iter().all(|field| is_flat(field.data_type()));
        let find = |name: &String| stored.index_of(name).ok();
        let is_added = |name: &str| ADDED_COLUMNS.contains(&name);
        let known = RECORD_SCHEMA.fields().iter().map(|field| (field.name(), find(field.name())));
        let lacks = known.clone().any(|(name, found)| found.is_none() && !is_added(name));
        if lacks {
            return None;
        }
        let projection = known.filter_map(|(_, found)| found).collect();
        flat.then(|| Self { stored: stored.into(), projection: Some(projection) })
    }

    /// The batch in `message`, with the columns of [`RECORD_SCHEMA`].
    pub(super) fn decode(&self, message: &Buffer, rows: u32) -> Option<RecordBatch> {
        if u32_at(message, 0)? != CONTINUATION {
            return None;
        }
        let metadata_end = 8_usize.checked_add(usize::try_from(u32_at(message, 4)?).ok()?)?;
        let metadata = root_as_message(message.get(8..metadata_end)?).ok()?;
        let body = message.slice(metadata_end);
        let version = metadata.version();
        let batch = metadata.header_as_record_batch()?;
        self.check(&batch, &body, rows)?;
        let none = HashMap::new();
        let decoder = RecordBatchDecoder::try_new(&body, batch, self.stored.clone(), &none, &version).ok()?;
        let batch = decoder.with_projection(self.projection.as_deref()).read_record_batch().ok()?;
        if self.projection.is_none() {
            return Some(batch);
        }
        let columns = RECORD_SCHEMA.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            Some(column) => Arc::clone(column),
            None => new_null_array(field.data_type(), batch.num_rows()),
        });
        RecordBatch::try_new(RECORD_SCHEMA.clone(), columns.collect()).ok()
    }

    /// That the metadata describes these columns, within `body`.
    fn check(&self, batch: &Metadata<'_>, body: &[u8], rows: u32) -> Option<()> {
        let compressed = batch.compression().is_some();
        let length_of = |buffer: &arrow_ipc::Buffer| {
            let start = usize::try_from(buffer.offset()).ok()?;
            let bytes = body.get(start..start.checked_add(usize::try_from(buffer.length()).ok()?)?)?;
            if !compressed || bytes.is_empty() {
                return Some(bytes.len());
            }
            match u64_at(bytes, 0)?.cast_signed() {
                -1 => Some(bytes.len() - 8),
                length if length <= MAX_COLUMN_BYTES => usize::try_from(length).ok(),
                _ => None,
            }
        };
        let bitmap_bytes = rows.div_ceil(8) as usize;
        let rows = i64::from(rows);
        let nodes = batch.nodes()?;
        let mut buffers = batch.buffers()?.iter();
        if batch.length() != rows
            || nodes.len() != self.stored.fields().len()
            || batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty())
        {
            return None;
        }
        for (node, field) in nodes.iter().zip(self.stored.fields()) {
            if node.length() != rows || !(0..=rows).contains(&node.null_count()) {
                return None;
            }
            let validity = length_of(buffers.next()?)?;
            if node.null_count() > 0 && validity < bitmap_bytes {
                return None;
            }
            let first = length_of(buffers.next()?)?;
            if let Some(width) = offset_bytes(field.data_type()) {
                length_of(buffers.next()?)?;
                if !first.is_multiple_of(width) {
                    return None;
                }
            }
        }
        buffers.next().is_none().then_some(())
    }
}

/// Whether a column is one of the plain ones: validity, offsets if its values differ in length, values.
fn is_flat(data_type: &DataType) -> bool {
    data_type.is_primitive() || *data_type == DataType::Boolean || offset_bytes(data_type).is_some()
}

/// Bytes of an offset of a column whose values differ in length.
fn offset_bytes(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Utf8 | DataType::Binary => Some(4),
        DataType::LargeUtf8 | DataType::LargeBinary => Some(8),
        _ => None,
    }
}

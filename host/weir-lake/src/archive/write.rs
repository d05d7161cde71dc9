//! One Parquet file while it is written: what it looks like to readers, and what its manifest entry will say.
//!
//! Rows stand in the order of their offsets. There are statistics of pages and row groups for what queries ask for, and
//! Bloom filters for devices and topics; any program that reads Parquet reads it.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow::array::RecordBatch;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::SortingColumn,
        properties::{EnabledStatistics, WriterProperties, WriterVersion},
    },
    schema::types::ColumnPath,
};
use weir_core::{
    Offset, Timestamp,
    schema::{Kind, RECORD_SCHEMA, Records},
};

use super::{DataFile, LakeCompression, LakeError};

/// Rows, and bytes before compression, of a row group at the most.
const ROW_GROUP_ROWS: usize = 128 << 10;
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Different devices, or topics, in a row group that its Bloom filters are made for.
const BLOOM_VALUES: u64 = 64 << 10;
/// Bytes of a topic that the manifest names.
const TOPIC_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct FileWriter {
    path: PathBuf,
    writer: ArrowWriter<File>,
    first: Option<Offset>,
    end: Offset,
    rows: u64,
    ticks: u64,
    payload_bytes: u64,
    oldest: i64,
    newest: i64,
    topics: Option<(String, String)>,
}

impl FileWriter {
    pub(super) fn create(path: PathBuf, compression: LakeCompression) -> Result<Self, LakeError> {
        let file = File::create(&path)?;
        let writer = ArrowWriter::try_new(file, RECORD_SCHEMA.clone(), Some(properties(compression)?))?;
        Ok(Self {
            path,
            writer,
            first: None,
            end: Offset::ZERO,
            rows: 0,
            ticks: 0,
            payload_bytes: 0,
            oldest: i64::MAX,
            newest: i64::MIN,
            topics: None,
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        let records = Records::try_from(batch).map_err(|error| LakeError::Log(error.to_string()))?;
        let offsets = records.offset.values();
        if let (Some(first), Some(last)) = (offsets.first(), offsets.last()) {
            self.first.get_or_insert(Offset(*first));
            self.end = Offset(last + 1);
        }
        self.rows += records.len() as u64;
        self.ticks += records.kind.values().iter().filter(|kind| **kind == Kind::Tick as u8).count() as u64;
        self.payload_bytes += records.payload.iter().flatten().map(|payload| payload.len() as u64).sum::<u64>();
        for time in records.accepted_at.values() {
            self.oldest = self.oldest.min(*time);
            self.newest = self.newest.max(*time);
        }
        for topic in records.topic.iter().flatten() {
            self.note(topic);
        }
        Ok(self.writer.write(batch)?)
    }

    fn note(&mut self, topic: &str) {
        match &mut self.topics {
            None => self.topics = Some((topic.to_owned(), topic.to_owned())),
            Some((first, last)) => {
                if topic < first.as_str() {
                    topic.clone_into(first);
                }
                if topic > last.as_str() {
                    topic.clone_into(last);
                }
            }
        }
    }

    /// Bytes of memory that wait to be written.
    pub(super) fn held(&self) -> usize {
        self.writer.memory_size()
    }

    pub(super) fn flush(&mut self) -> Result<(), LakeError> {
        Ok(self.writer.flush()?)
    }

    /// The file, finished, as what it will be in `folder` of the lake.
    pub(super) fn finish(
        self,
        commit: u64,
        folder: &str,
        product: Option<String>,
    ) -> Result<(DataFile, PathBuf), LakeError> {
        let first = self.first.unwrap_or_default();
        let metadata = self.writer.close()?;
        let file = DataFile {
            path: format!("{folder}/{}_{}.parquet", name(first), name(self.end)),
            commit,
            product,
            first,
            end: self.end,
            rows: self.rows,
            ticks: self.ticks,
            row_groups: metadata.num_row_groups() as u64,
            oldest: Timestamp(self.oldest),
            newest: Timestamp(self.newest),
            topics: self.topics.filter(|(first, last)| first.len().max(last.len()) <= TOPIC_BYTES),
            bytes: length(&self.path)?,
            payload_bytes: self.payload_bytes,
        };
        Ok((file, self.path))
    }
}

/// An offset as the log writes it in its files' names.
fn name(offset: Offset) -> String {
    format!("{:06x}-{:010x}", offset.epoch(), offset.index())
}

fn length(path: &Path) -> Result<u64, LakeError> {
    Ok(std::fs::metadata(path)?.len())
}

fn properties(compression: LakeCompression) -> Result<WriterProperties, LakeError> {
    let compression = match compression {
        LakeCompression::Lz4 => Compression::LZ4_RAW,
        LakeCompression::Zstd => Compression::ZSTD(ZstdLevel::try_new(1)?),
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(compression)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_sorting_columns(Some(vec![SortingColumn { column_idx: 0, descending: false, nulls_first: false }]));
    for name in ["offset", "accepted_at"] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["payload", "correlation", "user_properties"] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
    }
    for name in ["device", "topic"] {
        properties = properties
            .set_column_bloom_filter_enabled(ColumnPath::from(name), true)
            .set_column_bloom_filter_max_ndv(ColumnPath::from(name), BLOOM_VALUES);
    }
    Ok(properties.build())
}

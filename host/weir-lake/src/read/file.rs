//! Files of the lake: which are read, and which of their row groups and pages.

use std::{ops::Range, sync::Arc};

use arrow::array::{BooleanArray, RecordBatch};
use object_store::path::Path;
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask,
        arrow_reader::{ArrowPredicateFn, ArrowReaderOptions, RowFilter, RowSelection},
        async_reader::ParquetRecordBatchStream,
    },
    errors::ParquetError,
    file::{
        metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData},
        page_index::column_index::ColumnIndexMetaData,
        statistics::Statistics,
    },
};
use weir_core::{
    Offset, Timestamp, TopicFilter,
    schema::{Kind, optional},
    seams::HistoryError,
};

use super::{Batches, Reading, completed, merge::Merge, object::Object, within};
use crate::archive::{DataFile, Place, Snapshot};

/// Bytes of payloads in one batch, about, and rows at the most.
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_ROWS: u64 = 8_192;

pub(super) type Stream = ParquetRecordBatchStream<Object>;

/// A reading of a part of the lake.
pub(super) struct Lake<'a> {
    pub(super) place: &'a Place,
    pub(super) snapshot: &'a Snapshot,
    pub(super) reading: &'a Reading,
    pub(super) range: Range<Offset>,
}

impl Lake<'_> {
    /// Sends what is wanted, in the order of offsets. False: nobody wants more.
    pub(super) async fn read(&self, batches: &Batches) -> Result<bool, HistoryError> {
        let mut files = Vec::new();
        for file in &self.snapshot.files {
            let Range { start, end } = self.range;
            if !file.meets(start, end, self.reading.time) && file.end <= start {
                continue;
            }
            self.reading.progress.add_file(file.row_groups);
            self.reading.progress.expect(file.rows);
            if file.meets(start, end, self.reading.time) && self.reading.wanted.may_be_in(file) {
                files.push(file);
            } else {
                self.reading.progress.skip(file.rows);
            }
        }
        // Files of one commit cover one part of the log together; commits follow each other.
        for commit in files.chunk_by(|one, other| one.commit == other.commit) {
            let mut streams = Vec::new();
            for file in commit {
                streams.extend(self.open(file).await.map_err(|error| failed(file, &error))?);
            }
            let mut merge = Merge::new(streams);
            while let Some(batch) = merge.next().await.map_err(|error| HistoryError(error.to_string()))? {
                self.reading.progress.read(batch.num_rows() as u64);
                let batch = super::between(&completed(&batch, self.reading.columns)?, &self.range)?;
                let batch = within(batch, self.reading.time)?;
                if batch.num_rows() > 0 && batches.send(Ok(batch)).await.is_err() || batches.is_closed() {
                    return Ok(false);
                }
            }
        }
        Ok(!batches.is_closed())
    }

    /// The rows of a file that may be wanted. `None`: none are.
    async fn open(&self, file: &DataFile) -> Result<Option<Stream>, ParquetError> {
        let path = Path::from(file.path.as_str());
        let object = Object { store: Arc::clone(&self.place.store), path, bytes: file.bytes };
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_options(object, options).await?;
        let groups = self.groups(&mut builder).await?;
        let metadata = Arc::clone(builder.metadata());
        let rows = |group: &usize| metadata.row_groups().get(*group).map_or(0, |group| group.num_rows() as u64);
        let read: u64 = groups.iter().map(rows).sum();
        self.reading.progress.skip(file.rows.saturating_sub(read));
        if groups.is_empty() {
            return Ok(None);
        }
        self.reading.progress.read_file();
        self.reading.progress.read_row_groups(groups.len() as u64);
        let selection = self.pages(&metadata, &groups);
        if let Some(selection) = &selection {
            self.reading.progress.skip(read.saturating_sub(selection.row_count() as u64));
        }
        let names = self.reading.columns.names();
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let rows_of_batch = (BATCH_BYTES * file.rows / file.payload_bytes.max(1)).clamp(16, BATCH_ROWS);
        builder = builder
            .with_row_groups(groups)
            .with_projection(mask)
            .with_batch_size(usize::try_from(rows_of_batch).unwrap_or(16));
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        if let Some(filter) = self.filter(builder.parquet_schema()) {
            builder = builder.with_row_filter(filter);
        }
        builder.build().map(Some)
    }

    /// The row groups that may hold something that is wanted.
    async fn groups(&self, builder: &mut ParquetRecordBatchStreamBuilder<Object>) -> Result<Vec<usize>, ParquetError> {
        let metadata = Arc::clone(builder.metadata());
        let mut groups = Vec::new();
        for (number, group) in metadata.row_groups().iter().enumerate() {
            if self.may_be_in(group) && (self.reading.wanted.ticks || self.has_values(builder, number, group).await?) {
                groups.push(number);
            }
        }
        Ok(groups)
    }

    /// By its statistics.
    fn may_be_in(&self, group: &RowGroupMetaData) -> bool {
        let (from, to) = self.offsets();
        let is_near = numbers(group, "offset")
            .is_none_or(|(first, last)| Offset(first.cast_unsigned()) < to && from <= Offset(last.cast_unsigned()))
            && numbers(group, "accepted_at")
                .is_none_or(|(first, last)| self.reading.time.meets(Timestamp(first), Timestamp(last)));
        let wanted = &self.reading.wanted;
        let is_wanted = numbers(group, "accepted_at")
            .is_none_or(|(first, last)| wanted.time.meets(Timestamp(first), Timestamp(last)))
            && ["product", "device", "topic"].into_iter().all(|name| {
                let has_none = wanted.values(name).is_some() && is_null(group, name);
                !has_none && wanted.value_may_be(name, texts(group, name))
            });
        is_near && (is_wanted || wanted.ticks)
    }

    /// By its Bloom filters.
    async fn has_values(
        &self,
        builder: &mut ParquetRecordBatchStreamBuilder<Object>,
        number: usize,
        group: &RowGroupMetaData,
    ) -> Result<bool, ParquetError> {
        for name in ["device", "topic"] {
            let Some(values) = self.reading.wanted.values(name) else { continue };
            let Some(column) = place(group, name) else { continue };
            let Some(bloom) = builder.get_row_group_column_bloom_filter(number, column).await? else { continue };
            if !values.iter().any(|value| bloom.check(&value.as_str())) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows of these row groups on pages that may hold something that is wanted, by offset and time.
    fn pages(&self, metadata: &ParquetMetaData, groups: &[usize]) -> Option<RowSelection> {
        let (from, to) = self.offsets();
        let time = self.time();
        if from == Offset::ZERO && to == Offset(u64::MAX) && time == weir_core::history::TimeRange::ALL {
            return None;
        }
        let by_offset =
            |first: i64, last: i64| Offset(first.cast_unsigned()) < to && from <= Offset(last.cast_unsigned());
        let by_time = |first: i64, last: i64| time.meets(Timestamp(first), Timestamp(last));
        let offsets = selection(metadata, groups, "offset", &by_offset)?;
        let times = selection(metadata, groups, "accepted_at", &by_time)?;
        Some(offsets.intersection(&times))
    }

    fn offsets(&self) -> (Offset, Offset) {
        let wanted = &self.reading.wanted;
        let (from, to) = if wanted.ticks { (Offset::ZERO, Offset(u64::MAX)) } else { wanted.offsets };
        // A file of the first commit begins where the range does, most often.
        (from.max(self.range.start), to.min(self.range.end))
    }

    fn time(&self) -> weir_core::history::TimeRange {
        let (one, other) = (self.reading.time, self.reading.wanted.time);
        if self.reading.wanted.ticks {
            return one;
        }
        weir_core::history::TimeRange { from: one.from.max(other.from), to: one.to.min(other.to) }
    }

    /// Leaves out the messages of other topics before the rest of their columns is read, where few are wanted.
    fn filter(&self, schema: &parquet::schema::types::SchemaDescriptor) -> Option<RowFilter> {
        let filter = self.reading.wanted.filter.clone().filter(is_narrow)?;
        let ticks = self.reading.wanted.ticks;
        let mask = ProjectionMask::columns(schema, ["kind", "topic"]);
        let predicate = ArrowPredicateFn::new(mask, move |batch| Ok(matching(&batch, &filter, ticks)));
        Some(RowFilter::new(vec![Box::new(predicate)]))
    }
}

/// Whether few of a product's messages match: those of one device.
fn is_narrow(filter: &TopicFilter) -> bool {
    let mut levels = filter.as_str().split('/');
    let is_literal = |level: Option<&str>| level.is_some_and(|level| level != "+" && level != "#");
    is_literal(levels.next()) && is_literal(levels.next())
}

fn matching(batch: &RecordBatch, filter: &TopicFilter, ticks: bool) -> BooleanArray {
    use arrow::array::AsArray;
    let kinds =
        batch.column_by_name("kind").and_then(|column| column.as_primitive_opt::<arrow::datatypes::UInt8Type>());
    let topics = batch.column_by_name("topic").and_then(|column| column.as_string_opt::<i32>());
    let (Some(kinds), Some(topics)) = (kinds, topics) else {
        return BooleanArray::from(vec![true; batch.num_rows()]);
    };
    let is_wanted = |row: usize| match optional(kinds, row) {
        Some(kind) if kind == Kind::Message as u8 => filter.matches(topics.value(row)),
        _ => ticks,
    };
    (0..batch.num_rows()).map(|row| Some(is_wanted(row))).collect()
}

/// The rows on the pages of a column whose least and greatest values are `wanted`. `None`: there is no index.
fn selection(
    metadata: &ParquetMetaData,
    groups: &[usize],
    name: &str,
    wanted: &dyn Fn(i64, i64) -> bool,
) -> Option<RowSelection> {
    let mut ranges = Vec::new();
    let mut before = 0;
    for number in groups {
        let group = metadata.row_groups().get(*number)?;
        let column = place(group, name)?;
        let rows = usize::try_from(group.num_rows()).ok()?;
        let ColumnIndexMetaData::INT64(index) = metadata.column_index()?.get(*number)?.get(column)? else {
            return None;
        };
        let locations = metadata.offset_index()?.get(*number)?.get(column)?.page_locations();
        for (page, location) in locations.iter().enumerate() {
            let first = usize::try_from(location.first_row_index).ok()?;
            let next = locations.get(page + 1).map_or(Some(rows), |next| usize::try_from(next.first_row_index).ok())?;
            let is_wanted = match (index.min_value(page), index.max_value(page)) {
                (Some(least), Some(greatest)) => wanted(*least, *greatest),
                _ => true,
            };
            if is_wanted {
                ranges.push(before + first..before + next);
            }
        }
        before += rows;
    }
    Some(RowSelection::from_consecutive_ranges(ranges.into_iter(), before))
}

fn place(group: &RowGroupMetaData, name: &str) -> Option<usize> {
    group.columns().iter().position(|column| column.column_path().string() == name)
}

fn numbers(group: &RowGroupMetaData, name: &str) -> Option<(i64, i64)> {
    match group.column(place(group, name)?).statistics()? {
        Statistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        _ => None,
    }
}

/// Whether all values of a column are NULL.
fn is_null(group: &RowGroupMetaData, name: &str) -> bool {
    let statistics = place(group, name).and_then(|place| group.column(place).statistics());
    let nulls = statistics.and_then(Statistics::null_count_opt);
    nulls.is_some() && nulls == u64::try_from(group.num_rows()).ok()
}

fn texts<'a>(group: &'a RowGroupMetaData, name: &str) -> Option<(&'a [u8], &'a [u8])> {
    let statistics = group.column(place(group, name)?).statistics()?;
    Some((statistics.min_bytes_opt()?, statistics.max_bytes_opt()?))
}

fn failed(file: &DataFile, error: &ParquetError) -> HistoryError {
    HistoryError(format!("{} of the lake: {error}", file.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_narrow_and_a_product_is_not() {
        let check =
            |filter: &str, expected: bool| assert_eq!(is_narrow(&filter.parse().unwrap()), expected, "{filter}");
        check("A1B2C3D4E5/dev/event", true);
        check("A1B2C3D4E5/dev/#", true);
        check("A1B2C3D4E5/+/event", false);
        check("#", false);
    }
}

//! Files of one part of the log, merged: rows in the order of their offsets. Each file is in that order by itself.

use arrow::{
    array::{AsArray, RecordBatch, UInt64Array},
    compute::interleave_record_batch,
    datatypes::UInt64Type,
    error::ArrowError,
};
use futures::StreamExt;
use parquet::errors::ParquetError;

use super::file::Stream;

/// Rows of a merged batch.
const MERGED_ROWS: usize = 2_048;

pub(super) struct Merge {
    /// Streams that have not been asked yet.
    unread: Vec<Stream>,
    lanes: Vec<Lane>,
}

/// A file, and the batch of it that is being used up.
struct Lane {
    stream: Stream,
    batch: RecordBatch,
    offsets: UInt64Array,
    at: usize,
}

impl Lane {
    fn offset(&self) -> u64 {
        self.offsets.values().get(self.at).copied().unwrap_or(u64::MAX)
    }
}

impl Merge {
    pub(super) fn new(streams: Vec<Stream>) -> Self {
        Self { unread: streams, lanes: Vec::new() }
    }

    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, ParquetError> {
        if self.lanes.is_empty() && self.unread.len() == 1 {
            // Nothing to merge.
            let Some(stream) = self.unread.first_mut() else { return Ok(None) };
            return stream.next().await.transpose();
        }
        for stream in std::mem::take(&mut self.unread) {
            self.lanes.extend(advanced(stream).await?);
        }
        self.merged().await
    }

    async fn merged(&mut self) -> Result<Option<RecordBatch>, ParquetError> {
        // The batches that rows are taken of; lane n begins with batch n.
        let mut batches: Vec<RecordBatch> = self.lanes.iter().map(|lane| lane.batch.clone()).collect();
        let mut numbers: Vec<usize> = (0..batches.len()).collect();
        let mut rows = Vec::with_capacity(MERGED_ROWS);
        while rows.len() < MERGED_ROWS {
            let Some((place, limit)) = self.lowest() else { break };
            let (Some(lane), Some(number)) = (self.lanes.get_mut(place), numbers.get(place).copied()) else { break };
            // All rows of the lane that come before those of any other.
            while rows.len() < MERGED_ROWS && lane.at < lane.offsets.len() && lane.offset() <= limit {
                rows.push((number, lane.at));
                lane.at += 1;
            }
            if lane.at == lane.offsets.len() {
                let lane = self.lanes.swap_remove(place);
                numbers.swap_remove(place);
                if let Some(lane) = advanced(lane.stream).await? {
                    batches.push(lane.batch.clone());
                    numbers.push(batches.len() - 1);
                    self.lanes.push(lane);
                }
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        interleave_record_batch(&batches, &rows).map(Some).map_err(|error: ArrowError| error.into())
    }

    /// The lane whose row comes first, and the offset of the row that comes first of the other lanes.
    fn lowest(&self) -> Option<(usize, u64)> {
        let (place, _) = self.lanes.iter().enumerate().min_by_key(|(_, lane)| lane.offset())?;
        let others = self.lanes.iter().enumerate().filter(|(other, _)| *other != place);
        Some((place, others.map(|(_, lane)| lane.offset()).min().unwrap_or(u64::MAX)))
    }
}

/// A lane at the stream's next batch with rows. `None`: there is none.
async fn advanced(mut stream: Stream) -> Result<Option<Lane>, ParquetError> {
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let offsets =
            batch.column_by_name("offset").and_then(|column| column.as_primitive_opt::<UInt64Type>()).cloned();
        let offsets = offsets.ok_or_else(|| ParquetError::General("there are no offsets".to_owned()))?;
        return Ok(Some(Lane { stream, batch, offsets, at: 0 }));
    }
    Ok(None)
}

//! The messages that a query scans: the inputs of its plan, read from the messages of its topic filter.

use std::{fmt, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use datafusion::{
    error::DataFusionError,
    execution::TaskContext,
    physical_plan::{SendableRecordBatchStream, stream::RecordBatchReceiverStreamBuilder, streaming::PartitionStream},
};
use weir_core::{Offset, TopicFilter, schema::Records, seams::History};
use weir_rules::evaluate::InputReader;

/// Batches that may wait between reading and execution.
pub(crate) const WAITING_BATCHES: usize = 4;

/// Messages as a stream of batches with one column for each input.
pub(crate) struct Messages {
    pub(crate) history: Arc<dyn History>,
    pub(crate) source: TopicFilter,
    pub(crate) inputs: InputReader,
    pub(crate) schema: SchemaRef,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("source", &self.source).finish_non_exhaustive()
    }
}

impl PartitionStream for Messages {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), WAITING_BATCHES);
        let batches = stream.tx();
        // What is durable now: a query does not chase messages that arrive while it runs.
        let end = self.history.end();
        let records = self.history.scan(Offset::ZERO, end);
        let (source, inputs, schema) = (self.source.clone(), self.inputs.clone(), Arc::clone(&self.schema));
        stream.spawn_blocking(move || {
            for records in records {
                // Nobody receives any more when the query is over, or was given up. Batches without a match send
                // nothing, and must not be read for ever.
                if batches.is_closed() {
                    break;
                }
                let batch = records
                    .map_err(|error| DataFusionError::External(error.into()))
                    .and_then(|records| read(&records, &source, &inputs, &schema));
                let Some(batch) = batch.transpose() else { continue };
                let failed = batch.is_err();
                if batches.blocking_send(batch).is_err() || failed {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}

/// The matching messages of a batch; nothing if none match.
fn read(
    batch: &RecordBatch,
    source: &TopicFilter,
    inputs: &InputReader,
    schema: &SchemaRef,
) -> Result<Option<RecordBatch>, DataFusionError> {
    let records = Records::try_from(batch).map_err(|error| DataFusionError::External(error.into()))?;
    let matches = |row: &usize| records.is_message(*row) && source.matches(records.topic.value(*row));
    let rows: Vec<u32> = (0..records.len()).filter(matches).filter_map(|row| u32::try_from(row).ok()).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let columns = inputs.read(&records, &rows)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(Some(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?))
}

//! The messages that a query scans, as DataFusion sees them: a table with the inputs of the plan as columns, read from the
//! messages of its topic filter. What a condition says of envelopes keeps files and row groups from being read;
//! DataFusion looks at every row again.

use std::{fmt, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::DataFusionError,
    execution::TaskContext,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{
        ExecutionPlan, SendableRecordBatchStream,
        stream::RecordBatchReceiverStreamBuilder,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use weir_core::{
    Offset, TopicFilter,
    history::{ScanProgress, TimeRange},
    schema::Records,
};
use weir_rules::{evaluate::InputReader, program::Input};

use crate::{
    condition::envelope::Envelopes,
    read::{Columns, Past, Reading, Wanted},
};

/// Batches that may wait between reading and execution.
pub(crate) const WAITING_BATCHES: usize = 4;

/// Messages with the inputs that one query has of them.
pub(crate) struct QueriedMessages {
    pub(crate) past: Past,
    pub(crate) source: TopicFilter,
    pub(crate) time: TimeRange,
    pub(crate) inputs: Vec<Input>,
    /// A column for each input.
    pub(crate) schema: SchemaRef,
    pub(crate) progress: Arc<ScanProgress>,
}

impl fmt::Debug for QueriedMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueriedMessages").field("source", &self.source).finish_non_exhaustive()
    }
}

impl QueriedMessages {
    fn envelopes(&self) -> Envelopes<'_> {
        Envelopes { inputs: &self.inputs, schema: &self.schema }
    }
}

#[async_trait]
impl TableProvider for QueriedMessages {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let mut nothing = Wanted::of(Some(self.source.clone()), false);
        let support = |filter: &&Expr| match self.envelopes().narrow(filter, &mut nothing) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let mut wanted = Wanted::of(Some(self.source.clone()), false);
        for filter in filters {
            self.envelopes().narrow(filter, &mut wanted);
        }
        let (inputs, schema) = match projection {
            None => (self.inputs.clone(), Arc::clone(&self.schema)),
            Some(projection) => {
                let inputs = projection.iter().filter_map(|place| self.inputs.get(*place).cloned()).collect();
                (inputs, Arc::new(self.schema.project(projection)?))
            }
        };
        let reading = Reading {
            from: Offset::ZERO,
            time: self.time,
            wanted,
            columns: Columns::of(&inputs),
            progress: Arc::clone(&self.progress),
        };
        let scan = MessageScan {
            past: self.past.clone(),
            reading,
            source: self.source.clone(),
            inputs: InputReader::new(&inputs),
            schema: Arc::clone(&schema),
        };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, None, false, limit)?))
    }
}

/// Messages as a stream of batches with one column for each input.
struct MessageScan {
    past: Past,
    reading: Reading,
    source: TopicFilter,
    inputs: InputReader,
    schema: SchemaRef,
}

impl fmt::Debug for MessageScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageScan").field("reading", &self.reading).finish_non_exhaustive()
    }
}

impl PartitionStream for MessageScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), WAITING_BATCHES);
        let batches = stream.tx();
        let mut records = self.past.read(self.reading.clone());
        let source = self.source.clone();
        let (inputs, schema) = (self.inputs.clone(), Arc::clone(&self.schema));
        stream.spawn_blocking(move || {
            while let Some(records) = records.blocking_recv() {
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

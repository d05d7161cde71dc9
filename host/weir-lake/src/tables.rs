//! Tables beside the messages, as DataFusion sees them: their columns are the inputs of the plan, and what a filter says
//! of them goes to the table, so that it reads less. DataFusion looks at every row again.

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
use tokio::sync::mpsc;
use weir_core::{
    seams::{Table, TakeRows},
    table::{Condition, TableScan},
};
use weir_rules::{evaluate::TableReader, program::TableInput};

use crate::{condition::Conditions, messages::WAITING_BATCHES};

/// A table with the inputs that one query has of it.
pub(crate) struct QueriedTable {
    pub(crate) table: Arc<dyn Table>,
    pub(crate) inputs: Vec<TableInput>,
    /// A column for each input.
    pub(crate) schema: SchemaRef,
}

impl fmt::Debug for QueriedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueriedTable").field("table", &self.table.schema().name).finish_non_exhaustive()
    }
}

impl QueriedTable {
    fn condition(&self, filter: &Expr) -> Option<Condition> {
        Conditions { inputs: &self.inputs, schema: &self.schema, table: self.table.schema() }.of(filter)
    }
}

#[async_trait]
impl TableProvider for QueriedTable {
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
        let support = |filter: &&Expr| match self.condition(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
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
        let (inputs, schema) = match projection {
            None => (self.inputs.clone(), Arc::clone(&self.schema)),
            Some(projection) => {
                let inputs = projection.iter().filter_map(|place| self.inputs.get(*place).cloned()).collect();
                (inputs, Arc::new(self.schema.project(projection)?))
            }
        };
        let reader = TableReader::new(&inputs);
        let conditions = filters.iter().filter_map(|filter| self.condition(filter)).collect();
        let scan = TableScan { columns: reader.columns().to_vec(), conditions };
        let rows = Rows { table: Arc::clone(&self.table), scan, reader, schema: Arc::clone(&schema) };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, None, false, limit)?))
    }
}

/// The rows of one scan.
struct Rows {
    table: Arc<dyn Table>,
    scan: TableScan,
    reader: TableReader,
    schema: SchemaRef,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("table", &self.table.schema().name)
            .field("scan", &self.scan)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), WAITING_BATCHES);
        let taker = Taker { batches: stream.tx(), reader: self.reader.clone(), schema: Arc::clone(&self.schema) };
        let (table, scan) = (Arc::clone(&self.table), self.scan.clone());
        stream.spawn_blocking(move || {
            table.scan(&scan, Arc::new(taker)).map_err(|error| DataFusionError::External(error.into()))
        });
        stream.build()
    }
}

/// Makes inputs of a table's batches and hands them on.
struct Taker {
    batches: mpsc::Sender<Result<RecordBatch, DataFusionError>>,
    reader: TableReader,
    schema: SchemaRef,
}

impl TakeRows for Taker {
    fn take(&self, batch: RecordBatch) -> bool {
        let read = self.reader.read(&batch).and_then(|columns| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
        });
        let is_read = read.is_ok();
        self.batches.blocking_send(read.map_err(DataFusionError::from)).is_ok() && is_read
    }

    fn is_over(&self) -> bool {
        self.batches.is_closed()
    }
}

//! The windows that a query reads: a state machine of the rules goes over the messages, in the order of the log.
//!
//! Where the messages end, all windows close: the query is about what is there.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::DataFusionError,
    execution::TaskContext,
    physical_plan::{SendableRecordBatchStream, stream::RecordBatchReceiverStreamBuilder, streaming::PartitionStream},
};
use weir_core::{
    Offset,
    history::{ScanProgress, TimeRange},
    schema::Records,
    seams::HistoryError,
    windows::WindowLimits,
};
use weir_rules::window::{AtEnd, WindowPlan, run};

use crate::{
    messages::WAITING_BATCHES,
    read::{Columns, Past, Reading, Wanted},
};

pub(crate) struct Windows {
    pub(crate) past: Past,
    pub(crate) time: TimeRange,
    pub(crate) plan: Arc<WindowPlan>,
    /// Bytes that open windows may take.
    pub(crate) memory: usize,
    pub(crate) progress: Arc<ScanProgress>,
}

impl fmt::Debug for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows").finish_non_exhaustive()
    }
}

impl PartitionStream for Windows {
    fn schema(&self) -> &SchemaRef {
        self.plan.schema()
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(self.plan.schema()), WAITING_BATCHES);
        let batches = stream.tx();
        let end = self.past.log.end();
        let mut records = self.past.read(Reading {
            from: Offset::ZERO,
            time: self.time,
            wanted: Wanted::of(self.plan.source().cloned(), true),
            columns: Columns::all(),
            progress: Arc::clone(&self.progress),
        });
        let records = std::iter::from_fn(move || records.blocking_recv());
        let plan = Arc::clone(&self.plan);
        let limits = WindowLimits { groups: usize::MAX, bytes: self.memory };
        stream.spawn_blocking(move || {
            // Batches in which nothing closes send nothing, and must not be read for ever once nobody waits.
            let wanted = records.take_while(|_| !batches.is_closed()).map(records_of);
            let refused =
                run(plan, limits, wanted, AtEnd::Close, end, |closed| batches.blocking_send(Ok(closed)).is_ok())?;
            match refused {
                0 => Ok(()),
                _ => Err(DataFusionError::ResourcesExhausted("windows".to_owned())),
            }
        });
        stream.build()
    }
}

fn records_of(batch: Result<RecordBatch, HistoryError>) -> Result<Records, DataFusionError> {
    let batch = batch.map_err(|error| DataFusionError::External(error.into()))?;
    Records::try_from(&batch).map_err(|error| DataFusionError::External(error.into()))
}

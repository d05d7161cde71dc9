//! What the hub knows of devices and shadows, as tables for queries.
//!
//! A scan reads one state of the store, a batch at a time. Whether a device is online is known in memory alone, and is
//! looked up as its row comes by.

mod devices;
mod shadows;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{Field, Schema},
    error::ArrowError,
};
use weir_core::{
    seams::{Table, TableError, TakeRows},
    table::TableScan,
};
use weir_store::StoreError;

use self::{devices::Devices, shadows::Shadows};
use crate::Broker;

/// Rows, and bytes of JSON, in one batch; one more row may go beyond it.
const BATCH_ROWS: usize = 1_024;
const BATCH_BYTES: usize = 1 << 20;

impl Broker {
    /// The tables that queries may read.
    pub fn tables(&self) -> Vec<Arc<dyn Table>> {
        vec![Arc::new(Devices::new(self.clone())), Arc::new(Shadows::new(self.clone()))]
    }
}

/// The rows of a table, while they gather.
trait Batch: Default {
    /// Whether it should go.
    fn is_full(&self) -> bool;
    fn is_empty(&self) -> bool;
    /// The columns at these places of the table's schema.
    fn finish(self, wanted: &[usize]) -> Result<RecordBatch, ArrowError>;
}

/// A scan's rows on their way, batch by batch.
struct Batches<'a, B> {
    scan: &'a TableScan,
    rows: Arc<dyn TakeRows>,
    /// The one that grows.
    batch: B,
    broken: Option<ArrowError>,
}

impl<'a, B: Batch> Batches<'a, B> {
    fn new(scan: &'a TableScan, rows: Arc<dyn TakeRows>) -> Self {
        Self { scan, rows, batch: B::default(), broken: None }
    }

    /// To be called after a row was put into the batch. Says whether more are wanted.
    fn go_on(&mut self) -> bool {
        if !self.batch.is_full() {
            return true;
        }
        match std::mem::take(&mut self.batch).finish(&self.scan.columns) {
            Ok(batch) => self.rows.take(batch),
            Err(error) => {
                self.broken = Some(error);
                false
            }
        }
    }

    /// Hands on what is left, now that everything is read.
    fn end(self, read: Result<(), StoreError>, table: &str) -> Result<(), TableError> {
        let failed = |reason: String| TableError { table: table.to_owned(), reason };
        read.map_err(|error| failed(error.to_string()))?;
        if let Some(error) = self.broken {
            return Err(failed(error.to_string()));
        }
        if !self.batch.is_empty() {
            let last = self.batch.finish(&self.scan.columns).map_err(|error| failed(error.to_string()))?;
            // Whether more is wanted does not matter: there is no more.
            self.rows.take(last);
        }
        Ok(())
    }
}

/// A batch of the columns at these places.
fn chosen(columns: &[(&str, ArrayRef)], wanted: &[usize], rows: usize) -> Result<RecordBatch, ArrowError> {
    let chosen: Vec<&(&str, ArrayRef)> = wanted.iter().filter_map(|place| columns.get(*place)).collect();
    let field = |(name, array): &&(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(chosen.iter().map(field).collect::<Vec<_>>());
    let arrays = chosen.iter().map(|(_, array)| Arc::clone(array)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
}

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
use weir_core::seams::Table;

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

/// A batch of the columns at these places.
fn chosen(columns: &[(&str, ArrayRef)], wanted: &[usize], rows: usize) -> Result<RecordBatch, ArrowError> {
    let chosen: Vec<&(&str, ArrayRef)> = wanted.iter().filter_map(|place| columns.get(*place)).collect();
    let field = |(name, array): &&(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(chosen.iter().map(field).collect::<Vec<_>>());
    let arrays = chosen.iter().map(|(_, array)| Arc::clone(array)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
}

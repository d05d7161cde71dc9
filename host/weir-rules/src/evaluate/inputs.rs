//! The inputs of a plan as columns, without a rule: what a query over history reads.

use std::sync::Arc;

use arrow::{array::ArrayRef, error::ArrowError};
use weir_core::schema::Records;

use super::reader::{Batch, Reader};
use crate::program::Input;

/// Reads a list of inputs out of batches of records.
#[derive(Debug, Clone)]
pub struct InputReader {
    inputs: Arc<[Input]>,
    reader: Arc<Reader>,
}

impl InputReader {
    pub fn new(inputs: &[Input]) -> Self {
        Self { inputs: inputs.into(), reader: Arc::new(Reader::new(inputs.iter())) }
    }

    /// The inputs of some rows (ascending), a column each. What a rule would not read, because the payload is not JSON
    /// or the value is of another type, is NULL.
    pub fn read(&self, records: &Records, rows: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        let wanted =
            if self.reader.columns() > 0 { vec![(Arc::clone(&self.reader), rows.to_vec())] } else { Vec::new() };
        let batch = Batch::new(records, wanted);
        let picked = batch.pick(rows);
        self.inputs.iter().map(|input| picked.column(input)).collect()
    }
}

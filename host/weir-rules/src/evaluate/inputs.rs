//! The inputs of a plan as columns, without a rule: what a query over history reads.

use std::sync::Arc;

use arrow::{array::ArrayRef, error::ArrowError};
use weir_core::schema::Records;

use super::{
    batch::{Batch, Reader},
    compute::pick,
};
use crate::program::Input;

/// Reads a list of inputs out of batches of records.
#[derive(Debug, Clone)]
pub struct InputReader {
    inputs: Arc<[Input]>,
    reader: Arc<Reader>,
}

impl InputReader {
    pub fn new(inputs: &[Input]) -> Self {
        let numbers = (0..).zip(inputs).map(|(number, _)| number);
        Self { inputs: inputs.into(), reader: Arc::new(Reader::new(numbers, inputs)) }
    }

    /// The inputs of some rows (ascending), a column each. What a rule would not read, because the payload is not JSON
    /// or the value is of another type, is NULL.
    pub fn read(&self, records: &Records, rows: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        let wanted =
            if self.reader.columns() > 0 { vec![(Arc::clone(&self.reader), rows.to_vec())] } else { Vec::new() };
        let batch = Batch::new(records, &self.inputs, &wanted);
        let columns = (0..).zip(self.inputs.iter()).map(|(number, input)| match batch.column(number) {
            Some(column) => pick(&batch, column, rows),
            None => Err(ArrowError::ComputeError(format!("{input:?} was not read"))),
        });
        columns.collect()
    }
}

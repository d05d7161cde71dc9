//! Tables of a file.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Schema};
use serde_json::{Map, Value};
use weir_core::{
    seams::{BoxFuture, Table, TableError, TakeRows},
    table::{ColumnKind, TableScan, TableSchema},
};

/// Rows that meet conditions and others: whoever reads them looks again.
pub(crate) struct Rows {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) rows: Vec<Map<String, Value>>,
}

impl Table for Rows {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    fn settle(&self) -> BoxFuture<'_, Result<(), TableError>> {
        Box::pin(async { Ok(()) })
    }

    fn scan(&self, scan: &TableScan, rows: Arc<dyn TakeRows>) -> Result<(), TableError> {
        let column = |place: &usize| {
            let column = &self.schema.columns[*place];
            let values = self.rows.iter().map(|row| row.get(&column.name).filter(|value| !value.is_null()));
            let array: ArrayRef = match column.kind {
                ColumnKind::Text => Arc::new(values.map(|value| value?.as_str()).collect::<StringArray>()),
                ColumnKind::Integer => Arc::new(values.map(|value| value?.as_i64()).collect::<Int64Array>()),
                ColumnKind::Boolean => Arc::new(values.map(|value| value?.as_bool()).collect::<BooleanArray>()),
                ColumnKind::Json => Arc::new(values.map(|value| Some(value?.to_string())).collect::<StringArray>()),
                ColumnKind::Time => {
                    let times = values.map(|value| value?.as_i64()).collect::<TimestampMillisecondArray>();
                    Arc::new(times.with_timezone("UTC"))
                }
            };
            (column.name.clone(), array)
        };
        let columns: Vec<(String, ArrayRef)> = scan.columns.iter().map(column).collect();
        let fields = columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        rows.take(RecordBatch::try_new_with_options(schema, arrays, &options).unwrap());
        Ok(())
    }
}

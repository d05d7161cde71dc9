//! Tables of a file.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray,
    },
    datatypes::{Field, Schema},
};
use serde_json::{Map, Value};
use weir_core::{
    seams::{BoxFuture, Table, TableError, TakeRows},
    table::{ColumnKind, TableScan, TableSchema},
};

/// Gives all its rows, whatever the conditions: whoever reads them looks again.
pub(super) struct Rows {
    schema: Arc<TableSchema>,
    rows: Vec<Map<String, Value>>,
}

impl Rows {
    /// `lines`: a JSON object for each row.
    pub(super) fn new<'a>(schema: &Arc<TableSchema>, lines: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let row = |line: &str| serde_json::from_str(line).map_err(|error| format!("{line:?} is no row: {error}"));
        Ok(Self { schema: Arc::clone(schema), rows: lines.map(row).collect::<Result<_, _>>()? })
    }
}

impl Table for Rows {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    fn settle(&self) -> BoxFuture<'_, Result<(), TableError>> {
        Box::pin(async { Ok(()) })
    }

    fn scan(&self, scan: &TableScan, rows: Arc<dyn TakeRows>) -> Result<(), TableError> {
        let wanted = scan.columns.iter().filter_map(|place| self.schema.columns.get(*place));
        let columns = wanted.map(|column| {
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
            (Field::new(&column.name, array.data_type().clone(), true), array)
        });
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
        let failed =
            |error: arrow::error::ArrowError| TableError { table: self.schema.name.clone(), reason: error.to_string() };
        rows.take(batch.map_err(failed)?);
        Ok(())
    }
}

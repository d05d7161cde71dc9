//! The inputs of a plan over a table as columns.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, BinaryArray, RecordBatch},
    error::ArrowError,
};

use crate::{
    extract::Extractor,
    program::{ColumnType, JsonPath, TableInput},
};

/// Reads a list of inputs out of batches of a table.
#[derive(Debug, Clone)]
pub struct TableReader {
    inputs: Arc<[TableInput]>,
    /// The columns of the table that are read, which are those of the batches.
    columns: Vec<usize>,
    /// For each of them what is read within it.
    extractors: Arc<[Extractor]>,
}

impl TableReader {
    pub fn new(inputs: &[TableInput]) -> Self {
        let mut columns: Vec<usize> = inputs.iter().map(column_of).collect();
        columns.sort_unstable();
        columns.dedup();
        let extractor = |column: &usize| {
            let paths: Vec<(JsonPath, ColumnType)> =
                inputs.iter().filter_map(|input| path_in(input, *column)).collect();
            Extractor::new(&paths)
        };
        Self { inputs: inputs.into(), extractors: columns.iter().map(extractor).collect(), columns }
    }

    /// Places of the columns in the table, ascending: what a batch must have, in this order.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// A column for each input. What is not there, or of another type, is NULL.
    pub fn read(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
        let missing = || ArrowError::ComputeError("a column of the table is missing".to_owned());
        let rows: Vec<u32> = (0..u32::try_from(batch.num_rows()).unwrap_or(u32::MAX)).collect();
        let mut read = Vec::new();
        for (extractor, (array, column)) in self.extractors.iter().zip(batch.columns().iter().zip(&self.columns)) {
            if !self.inputs.iter().any(|input| path_in(input, *column).is_some()) {
                read.push(Vec::new().into_iter());
                continue;
            }
            let texts = array.as_string_opt::<i32>().ok_or_else(missing)?;
            // NULL has no text, and what has no value is NULL.
            let bytes = BinaryArray::from(texts.clone());
            read.push(extractor.extract(&bytes, &rows).columns.into_iter());
        }
        let columns = self.inputs.iter().map(|input| {
            let place = self.columns.binary_search(&column_of(input)).map_err(|_| missing())?;
            match input {
                TableInput::Column(_) => batch.columns().get(place).cloned(),
                TableInput::Path { .. } => read.get_mut(place).and_then(Iterator::next),
            }
            .ok_or_else(missing)
        });
        columns.collect()
    }
}

fn column_of(input: &TableInput) -> usize {
    let (TableInput::Column(column) | TableInput::Path { column, .. }) = input;
    *column
}

fn path_in(input: &TableInput, wanted: usize) -> Option<(JsonPath, ColumnType)> {
    match input {
        TableInput::Path { column, path, column_type } if *column == wanted => Some((path.clone(), *column_type)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;
    use crate::program::Step;

    #[test]
    fn values_come_out_of_columns_that_hold_json() {
        let json: StringArray = [Some(r#"{"fw":"1.2","n":3}"#), None, Some(r#"{"n":"x"}"#)].into_iter().collect();
        let version = Int64Array::from(vec![1, 2, 3]);
        let batch = RecordBatch::try_from_iter([
            ("version", Arc::new(version.clone()) as ArrayRef),
            ("reported", Arc::new(json.clone()) as ArrayRef),
        ]);
        let path =
            |steps: &[Step], column_type| TableInput::Path { column: 4, path: JsonPath(steps.into()), column_type };
        let reader = TableReader::new(&[
            path(&[Step::Key("fw".into())], ColumnType::Text),
            TableInput::Column(3),
            path(&[], ColumnType::Json),
            path(&[Step::Key("n".into())], ColumnType::Number),
        ]);
        assert_eq!(reader.columns(), [3, 4]);
        let columns = reader.read(&batch.unwrap()).unwrap();
        let texts: StringArray = [Some("1.2"), None, None].into_iter().collect();
        assert_eq!(*columns[0], texts);
        assert_eq!(*columns[1], version);
        assert_eq!(*columns[2], json);
        assert_eq!(*columns[3], Float64Array::from(vec![Some(3.0), None, None]));
    }
}

//! Arrow batches as JSON: columns as `[{"name","type"}]`, rows as arrays of values.
//!
//! Numbers are numbers, whatever their size; timestamps are RFC 3339 text in UTC; binary is base64; lists and structs
//! are arrays and objects. What JSON has no word for (NaN, infinities) is null.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{
        DataType, Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
        UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use weir_core::seams::QueryError;

const FORMAT: FormatOptions<'static> = FormatOptions::new()
    .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.3fZ"))
    .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.3f%:z"));

/// What columns there are.
pub(super) fn columns(schema: &Schema) -> Value {
    let column = |field: &std::sync::Arc<Field>| json!({ "name": field.name(), "type": column_type(field) });
    Value::Array(schema.fields().iter().map(column).collect())
}

/// Rows with commas between them.
pub(super) fn rows(batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
    let mut body = Vec::new();
    for row in 0..batch.num_rows() {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        let cells: Result<Vec<Value>, QueryError> = columns
            .map(|(field, column)| if is_json(field) { Ok(json_cell(column, row)) } else { cell(column, row) })
            .collect();
        if row > 0 {
            body.push(b',');
        }
        // Writing JSON values to memory cannot fail.
        let _written = serde_json::to_writer(&mut body, &cells?);
    }
    Ok(body)
}

/// Whether a column holds JSON as text, by Arrow's canonical extension type.
fn is_json(field: &Field) -> bool {
    field.metadata().get("ARROW:extension:name").is_some_and(|name| name == "arrow.json")
}

/// A value that was JSON in the message is JSON in the result.
fn json_cell(column: &ArrayRef, row: usize) -> Value {
    let text = column.as_string_opt::<i32>().filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row));
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())))
}

fn column_type(field: &Field) -> String {
    if is_json(field) { "json".into() } else { type_name(field.data_type()) }
}

/// The type in the words of a rule author, not of Arrow.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "null".into(),
        DataType::Boolean => "boolean".into(),
        data_type if data_type.is_integer() => "integer".into(),
        data_type if data_type.is_numeric() => "number".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "binary".into()
        }
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => "list".into(),
        DataType::Struct(_) => "object".into(),
        DataType::Dictionary(_, values) => type_name(values),
        other => other.to_string().to_lowercase(),
    }
}

fn cell(array: &ArrayRef, row: usize) -> Result<Value, QueryError> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let value = match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float16 => f64::from(array.as_primitive::<Float16Type>().value(row)).into(),
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Binary => STANDARD.encode(array.as_binary::<i32>().value(row)).into(),
        DataType::LargeBinary => STANDARD.encode(array.as_binary::<i64>().value(row)).into(),
        DataType::BinaryView => STANDARD.encode(array.as_binary_view().value(row)).into(),
        DataType::FixedSizeBinary(_) => STANDARD.encode(array.as_fixed_size_binary().value(row)).into(),
        DataType::List(_) => list(&array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row))?,
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let members: Result<Map<String, Value>, QueryError> =
                columns.map(|(field, column)| Ok((field.name().clone(), cell(column, row)?))).collect();
            Value::Object(members?)
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().unwrap_or_default();
            cell(dictionary.values(), key)?
        }
        // Dates, times, intervals, decimals and whatever comes: as Arrow writes them.
        _ => {
            let formatter = ArrayFormatter::try_new(array.as_ref(), &FORMAT).map_err(unshowable)?;
            formatter.value(row).try_to_string().map_err(unshowable)?.into()
        }
    };
    Ok(value)
}

fn list(items: &ArrayRef) -> Result<Value, QueryError> {
    (0..items.len()).map(|item| cell(items, item)).collect::<Result<Vec<Value>, _>>().map(Value::Array)
}

fn unshowable(error: arrow::error::ArrowError) -> QueryError {
    QueryError::Failed(format!("the result cannot be shown: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, DictionaryArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
        TimestampMillisecondArray, UInt64Array,
    };

    use super::*;

    fn written(batch: &RecordBatch) -> String {
        let rows = String::from_utf8(rows(batch).unwrap()).unwrap();
        format!("{{\"columns\":{},\"rows\":[{rows}]}}", columns(batch.schema_ref()))
    }

    fn check(column: ArrayRef, name: &str, rows: &str) {
        let expected = format!("{{\"columns\":[{{\"name\":\"c\",\"type\":\"{name}\"}}],\"rows\":{rows}}}");
        let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
        let read: Value = serde_json::from_str(&written(&batch)).unwrap();
        assert_eq!(read.to_string(), expected);
    }

    #[test]
    fn json_of_a_message_stays_json() {
        let metadata = [("ARROW:extension:name".to_owned(), "arrow.json".to_owned())].into();
        let field = Field::new("c", DataType::Utf8, true).with_metadata(metadata);
        let column: ArrayRef =
            Arc::new(StringArray::from(vec![Some("31.5"), Some("\"ok\""), Some("{\"a\":[1]}"), None]));
        let batch = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(vec![field])), vec![column]).unwrap();
        let expected = r#"{"columns":[{"name":"c","type":"json"}],"rows":[[31.5],["ok"],[{"a":[1]}],[null]]}"#;
        assert_eq!(written(&batch), expected);
    }

    #[test]
    fn values_keep_their_meaning() {
        check(Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])), "integer", "[[18446744073709551615],[null]]");
        check(Arc::new(Int64Array::from(vec![i64::MIN])), "integer", "[[-9223372036854775808]]");
        check(Arc::new(Float64Array::from(vec![1.5, f64::NAN])), "number", "[[1.5],[null]]");
        check(Arc::new(StringArray::from(vec!["é\""])), "text", "[[\"é\\\"\"]]");
        check(Arc::new(BinaryArray::from_vec(vec![&[0xff, 0]])), "binary", "[[\"/wA=\"]]");
        check(
            Arc::new(TimestampMillisecondArray::from(vec![1_700_000_000_123])),
            "timestamp",
            "[[\"2023-11-14T22:13:20.123Z\"]]",
        );
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])]);
        check(Arc::new(list), "list", "[[[1,null]]]");
        check(
            Arc::new(["a", "b", "a"].into_iter().collect::<DictionaryArray<Int8Type>>()),
            "text",
            "[[\"a\"],[\"b\"],[\"a\"]]",
        );
        let inner: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        check(Arc::new(StructArray::try_from(vec![("x", inner)]).unwrap()), "object", "[[{\"x\":7}]]");
    }
}

//! Values as the text that a reader would write: `30` and not `30.0`, `hot` and not `"hot"`, times as in rows.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray},
    datatypes::DataType,
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::render::Cells;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Text {
    /// The value is JSON text.
    is_json: bool,
    signature: Signature,
}

impl Text {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Text {
    fn name(&self) -> &str {
        if self.is_json { "$json_text" } else { "$text" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [array] = &ColumnarValue::values_to_arrays(&arguments.args)?[..] else {
            return exec_err!("one value has a text");
        };
        let texts: StringArray = match array.as_string_opt::<i32>() {
            Some(json) if self.is_json => json.iter().map(|json| Some(plain_text(json?))).collect(),
            _ => texts(array),
        };
        Ok(ColumnarValue::Array(Arc::new(texts) as ArrayRef))
    }
}

fn texts(array: &ArrayRef) -> StringArray {
    let cells = Cells::new(array, false);
    let text = |row| {
        let mut text = Vec::new();
        if !cells.is_null(row) {
            cells.write_plain(row, &mut text);
        }
        // Infinities and NaN have no text, as they have no JSON.
        let has_none = cells.is_null(row) || (array.data_type().is_floating() && text == b"null");
        if has_none { None } else { String::from_utf8(text).ok() }
    };
    (0..array.len()).map(text).collect()
}

/// The content of a JSON string; other JSON as it is.
fn plain_text(json: &str) -> Cow<'_, str> {
    if !json.starts_with('"') {
        return Cow::Borrowed(json);
    }
    serde_json::from_str::<String>(json).map_or(Cow::Borrowed(json), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, TimestampMillisecondArray};

    use super::*;

    #[test]
    fn values_lose_what_a_reader_would_not_write() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(30.0), Some(-0.5), Some(f64::INFINITY), None]));
        assert_eq!(texts(&numbers), StringArray::from(vec![Some("30"), Some("-0.5"), None, None]));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1_763_848_801_123, i64::MAX]));
        assert_eq!(texts(&times).value(0), "2025-11-22T22:00:01.123Z");
        assert_eq!(plain_text(r#""h\u00f6t""#), "höt");
        assert_eq!(plain_text("[1, 2]"), "[1, 2]");
    }
}

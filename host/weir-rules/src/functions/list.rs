//! `path::double[]` and the like: a JSON array as a list. Elements of another type are NULL; what is no array is NULL.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder},
    datatypes::{DataType, Field},
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    Number,
    Integer,
    Text,
    Boolean,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct List {
    element: Element,
    signature: Signature,
}

impl List {
    pub(super) fn new(element: Element) -> Self {
        Self { element, signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable) }
    }
}

/// The Arrow type of a list.
pub(crate) fn list_type(element: Element) -> DataType {
    let element = match element {
        Element::Number => DataType::Float64,
        Element::Integer => DataType::Int64,
        Element::Text => DataType::Utf8,
        Element::Boolean => DataType::Boolean,
    };
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

impl ScalarUDFImpl for List {
    fn name(&self) -> &str {
        match self.element {
            Element::Number => "$number_list",
            Element::Integer => "$integer_list",
            Element::Text => "$text_list",
            Element::Boolean => "$boolean_list",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_type(self.element))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts] = &ColumnarValue::values_to_arrays(&arguments.args)?[..] else {
            return exec_err!("a list takes one value");
        };
        let lists: Vec<Option<Vec<Value>>> =
            texts.as_string::<i32>().iter().map(|text| serde_json::from_str(text?).ok()).collect();
        macro_rules! build {
            ($builder:expr, $value:expr) => {{
                let mut builder = ListBuilder::new($builder);
                for list in &lists {
                    for value in list.iter().flatten() {
                        builder.values().append_option($value(value));
                    }
                    builder.append(list.is_some());
                }
                Arc::new(builder.finish()) as ArrayRef
            }};
        }
        Ok(ColumnarValue::Array(match self.element {
            Element::Number => build!(Float64Builder::new(), Value::as_f64),
            Element::Integer => build!(Int64Builder::new(), Value::as_i64),
            Element::Text => build!(StringBuilder::new(), Value::as_str),
            Element::Boolean => build!(BooleanBuilder::new(), Value::as_bool),
        }))
    }
}

//! Questions to JSON: to a value of the payload, and to a text that holds JSON, as some devices send.
//!
//! `json_get(value, 'key', 0, …)` and its kin go down by keys and indices, into a string that holds JSON too; what is not there, or is of another kind than
//! asked for, is NULL, and so is a text that is not JSON.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder,
    },
    datatypes::{DataType, Field, Int64Type},
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use serde_json::value::RawValue;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// The value itself, as it stands.
    Value,
    /// A JSON string's content, anything else as it stands.
    AsText,
    Text,
    Integer,
    Number,
    Boolean,
    /// Elements of an array, members of an object.
    Length,
    Keys,
    Exists,
}

impl Question {
    const ALL: [(&'static str, Self); 9] = [
        ("json_get", Self::Value),
        ("json_as_text", Self::AsText),
        ("json_get_str", Self::Text),
        ("json_get_int", Self::Integer),
        ("json_get_float", Self::Number),
        ("json_get_bool", Self::Boolean),
        ("json_length", Self::Length),
        ("json_object_keys", Self::Keys),
        ("json_contains", Self::Exists),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, question)| question)
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(|(name, _)| name)
    }

    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Value | Self::AsText | Self::Text => DataType::Utf8,
            Self::Integer | Self::Length => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Boolean | Self::Exists => DataType::Boolean,
            Self::Keys => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        }
    }
}

/// Takes JSON text, then keys (texts) and indices (whole numbers).
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Json {
    question: Question,
    signature: Signature,
}

/// A step down.
enum Step<'a> {
    Key(&'a str),
    Index(i64),
}

impl Json {
    pub(super) fn new(question: Question) -> Self {
        Self { question, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Json {
    fn name(&self) -> &str {
        Question::ALL.iter().find(|(_, question)| *question == self.question).map_or("json", |(name, _)| name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.question.data_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [json, steps @ ..] = arrays.as_slice() else { return exec_err!("{} takes a value", self.name()) };
        let Some(json) = json.as_string_opt::<i32>() else { return exec_err!("{} takes JSON", self.name()) };
        let looks_within = !steps.is_empty() || matches!(self.question, Question::Length | Question::Keys);
        let outer: Vec<Option<Cow<'_, RawValue>>> =
            json.iter().map(|text| serde_json::from_str(text?).ok().map(|value| opened(value, looks_within))).collect();
        let found: Vec<Option<&RawValue>> = (0..json.len())
            .map(|row| {
                let value = outer.get(row)?.as_deref()?;
                steps.iter().try_fold(value, |value, steps| down(value, &step(steps, row)?))
            })
            .collect();
        Ok(ColumnarValue::Array(self.answers(&outer, &found)))
    }
}

impl Json {
    fn answers(&self, outer: &[Option<Cow<'_, RawValue>>], found: &[Option<&RawValue>]) -> ArrayRef {
        let texts = |text: fn(&RawValue) -> Option<String>| -> ArrayRef {
            Arc::new(found.iter().map(|value| value.and_then(text)).collect::<StringArray>())
        };
        match self.question {
            Question::Value => texts(|value| Some(value.get().to_owned())),
            Question::AsText => texts(|value| match value.get() {
                "null" => None,
                json if json.starts_with('"') => read(value),
                json => Some(json.to_owned()),
            }),
            Question::Text => texts(|value| read(value)),
            Question::Integer => Arc::new(found.iter().map(|value| read((*value)?)).collect::<Int64Array>()),
            Question::Number => Arc::new(found.iter().map(|value| read((*value)?)).collect::<Float64Array>()),
            Question::Boolean => Arc::new(found.iter().map(|value| read((*value)?)).collect::<BooleanArray>()),
            Question::Length => Arc::new(found.iter().map(|value| length((*value)?)).collect::<Int64Array>()),
            Question::Keys => {
                let mut keys = ListBuilder::new(StringBuilder::new());
                for value in found {
                    let members = value.and_then(read::<serde_json::Map<String, serde_json::Value>>);
                    let is_object = members.is_some();
                    for key in members.iter().flat_map(|members| members.keys()) {
                        keys.values().append_value(key);
                    }
                    keys.append(is_object);
                }
                Arc::new(keys.finish())
            }
            // Of what is no JSON nobody can say.
            Question::Exists => {
                let exists = outer.iter().zip(found).map(|(outer, value)| outer.as_ref().map(|_| value.is_some()));
                Arc::new(exists.collect::<BooleanArray>())
            }
        }
    }
}

/// The value itself, or for who looks within a JSON string the JSON that it holds.
fn opened(value: &RawValue, looks_within: bool) -> Cow<'_, RawValue> {
    let held = if looks_within { read::<String>(value) } else { None };
    let held = held.and_then(|text| RawValue::from_string(text).ok());
    held.map_or(Cow::Borrowed(value), Cow::Owned)
}

fn step(steps: &ArrayRef, row: usize) -> Option<Step<'_>> {
    if steps.is_null(row) {
        return None;
    }
    match steps.as_string_opt::<i32>() {
        Some(keys) => Some(Step::Key(keys.value(row))),
        None => Some(Step::Index(steps.as_primitive_opt::<Int64Type>()?.value(row))),
    }
}

fn down<'j>(value: &'j RawValue, step: &Step<'_>) -> Option<&'j RawValue> {
    match step {
        // The last of several members with one key counts, as everywhere.
        Step::Key(key) => read::<HashMap<String, &'j RawValue>>(value)?.remove(*key),
        Step::Index(index) => read::<Vec<&'j RawValue>>(value)?.get(usize::try_from(*index).ok()?).copied(),
    }
}

fn length(value: &RawValue) -> Option<i64> {
    let count = match value.get().as_bytes().first()? {
        b'[' => read::<Vec<&RawValue>>(value)?.len(),
        b'{' => read::<HashMap<String, &RawValue>>(value)?.len(),
        _ => return None,
    };
    i64::try_from(count).ok()
}

fn read<'j, T: serde::Deserialize<'j>>(value: &'j RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

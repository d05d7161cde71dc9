//! `topic(n)`: one level of a topic, counted from 1 (vendor protocol §5.2). A level that is not there is NULL.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, StringArray},
    datatypes::{DataType, Int64Type},
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TopicLevel {
    signature: Signature,
}

impl TopicLevel {
    pub(super) fn new() -> Self {
        let types = vec![DataType::Utf8, DataType::Int64];
        Self { signature: Signature::exact(types, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TopicLevel {
    fn name(&self) -> &str {
        "$topic_level"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [topics, levels] = &ColumnarValue::values_to_arrays(&arguments.args)?[..] else {
            return exec_err!("topic takes a level");
        };
        let (topics, levels) = (topics.as_string::<i32>(), levels.as_primitive::<Int64Type>());
        let level = |(topic, level): (Option<&'_ str>, Option<i64>)| {
            let index = usize::try_from(level?).ok()?.checked_sub(1)?;
            topic?.split('/').nth(index).map(str::to_owned)
        };
        let found: StringArray = topics.iter().zip(levels.iter()).map(level).collect();
        Ok(ColumnarValue::Array(Arc::new(found) as ArrayRef))
    }
}

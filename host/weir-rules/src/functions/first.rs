//! The first value that is not NULL: `coalesce` of values of one type.
//!
//! DataFusion's own becomes a CASE that repeats its arguments, which grows without bound where calls nest.

use arrow::{
    array::{Array, ArrayRef},
    compute::{is_not_null, kernels::zip::zip},
    datatypes::DataType,
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct First {
    signature: Signature,
}

impl First {
    pub(super) fn new() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for First {
    fn name(&self) -> &str {
        "$first"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(first.clone()),
            _ => exec_err!("the first of values of different types {arguments:?}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut values = arguments.args.iter();
        let Some(first) = values.next() else { return exec_err!("the first of no values") };
        let mut found: ArrayRef = first.to_array(arguments.number_rows)?;
        for value in values {
            if found.null_count() == 0 {
                break;
            }
            found = zip(&is_not_null(&found)?, &found, &value.to_array(arguments.number_rows)?)?;
        }
        Ok(ColumnarValue::Array(found))
    }
}

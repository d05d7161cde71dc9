//! DataFusion's functions as rules need them: one bad value must not fail the batch it came in.
//!
//! A call that fails is repeated row by row, and rows that fail on their own are NULL. A function that multiplies its
//! input refuses results beyond [`MAX_RESULT`].

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::{cast, kernels::length::length},
    datatypes::{DataType, FieldRef, Int64Type},
};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// Bytes of a text or elements of a list that one call may make for one row.
const MAX_RESULT: i64 = 65_536;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Guarded(pub(super) Arc<ScalarUDF>);

impl ScalarUDFImpl for Guarded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        // A row that fails is NULL, whatever the function promises.
        let field = self.0.return_field_from_args(arguments)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Ok(value) = self.attempt(arguments.clone()) {
            return Ok(value);
        }
        if arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_))) {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(arguments.return_type())?));
        }
        let rows =
            (0..arguments.number_rows).map(|row| self.row(&arguments, row)).collect::<Result<Vec<ArrayRef>>>()?;
        let rows: Vec<&dyn Array> = rows.iter().map(|row| row.as_ref()).collect();
        Ok(ColumnarValue::Array(arrow::compute::concat(&rows)?))
    }
}

impl Guarded {
    pub(super) fn attempt(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if makes_too_much(self.0.name(), &arguments.args)? {
            return exec_err!("{} would make too much", self.0.name());
        }
        // A function of an engine that was written for tables of one's own may panic on what a device sends.
        let rows = arguments.number_rows;
        let is_constant = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        match catch_unwind(AssertUnwindSafe(|| self.0.invoke_with_args(arguments))) {
            // Some functions take the first row for all where only some arguments are constant.
            Ok(Ok(ColumnarValue::Scalar(_))) if !is_constant && rows != 1 => {
                exec_err!("{} gives one value for {rows} rows", self.0.name())
            }
            Ok(result) => result,
            Err(_) => exec_err!("{} failed", self.0.name()),
        }
    }

    fn row(&self, arguments: &ScalarFunctionArgs, row: usize) -> Result<ArrayRef> {
        let mut single = arguments.clone();
        single.number_rows = 1;
        for argument in &mut single.args {
            if let ColumnarValue::Array(array) = argument {
                *array = array.slice(row, 1);
            }
        }
        match self.attempt(single) {
            Ok(value) => value.into_array(1),
            Err(_) => ScalarValue::try_from(arguments.return_type())?.to_array(),
        }
    }
}

/// Whether the largest count would make more than [`MAX_RESULT`] of the longest value.
fn makes_too_much(name: &str, arguments: &[ColumnarValue]) -> Result<bool> {
    let counts = |index: usize| -> Result<Vec<i64>> {
        let Some(argument) = arguments.get(index) else { return Ok(Vec::new()) };
        let array = cast(&argument.to_array(1)?, &DataType::Int64)?;
        Ok(array.as_primitive::<Int64Type>().iter().flatten().collect())
    };
    let largest =
        |index| Ok::<_, DataFusionError>(counts(index)?.into_iter().map(i64::saturating_abs).max().unwrap_or(0));
    let smallest = |index| Ok::<_, DataFusionError>(counts(index)?.into_iter().min().unwrap_or(0));
    Ok(match name {
        "repeat" => {
            let longest = match arguments.first() {
                Some(argument) => cast(&length(&argument.to_array(1)?)?, &DataType::Int64)?,
                None => return Ok(false),
            };
            let longest = longest.as_primitive::<Int64Type>().iter().flatten().max().unwrap_or(0);
            longest.saturating_mul(largest(1)?) > MAX_RESULT
        }
        // Below zero is too much too: DataFusion takes it for a huge size.
        "lpad" | "rpad" | "array_repeat" | "array_resize" => {
            !(0..=MAX_RESULT).contains(&smallest(1)?) || largest(1)? > MAX_RESULT
        }
        "range" | "generate_series" => largest(0)?.saturating_add(largest(1)?) > MAX_RESULT,
        _ => false,
    })
}

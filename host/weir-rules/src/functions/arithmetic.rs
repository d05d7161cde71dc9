//! Arithmetic that cannot fail: an overflow and a division by zero are NULL, where DataFusion wraps or fails the batch.
//!
//! The planner casts both sides to one type first: Float64 or Int64. `/` is always on Float64. Times and intervals are
//! added by Arrow, which refuses what overflows, so that they need the guard.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, PrimitiveArray},
    compute::{cast, kernels::numeric},
    datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int64Type},
};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Arithmetic {
    operation: Operation,
    signature: Signature,
}

impl Arithmetic {
    pub(super) fn new(operation: Operation) -> Self {
        Self { operation, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "$add",
            Operation::Subtract => "$subtract",
            Operation::Multiply => "$multiply",
            Operation::Divide => "$divide",
            Operation::Remainder => "$remainder",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [left, right] if left == right => Ok(left.clone()),
            _ => exec_err!("arithmetic takes two numbers of one type, not {arguments:?}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = arguments.args.as_slice() else {
            return exec_err!("arithmetic takes two numbers");
        };
        let result = match left.data_type() {
            DataType::Int64 => apply::<Int64Type>(left, right, self.integers())?,
            DataType::Float64 => apply::<Float64Type>(left, right, self.doubles())?,
            other => return exec_err!("arithmetic on {other}"),
        };
        match (left, right) {
            (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)) => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
            }
            _ => Ok(ColumnarValue::Array(result)),
        }
    }
}

impl Arithmetic {
    fn integers(&self) -> fn(i64, i64) -> Option<i64> {
        match self.operation {
            Operation::Add => i64::checked_add,
            Operation::Subtract => i64::checked_sub,
            Operation::Multiply => i64::checked_mul,
            Operation::Divide => i64::checked_div,
            Operation::Remainder => i64::checked_rem,
        }
    }

    fn doubles(&self) -> fn(f64, f64) -> Option<f64> {
        match self.operation {
            Operation::Add => |left, right| Some(left + right),
            Operation::Subtract => |left, right| Some(left - right),
            Operation::Multiply => |left, right| Some(left * right),
            Operation::Divide => |left, right| (right != 0.0).then(|| left / right),
            Operation::Remainder => |left, right| (right != 0.0).then(|| left % right),
        }
    }
}

fn apply<T: ArrowPrimitiveType>(
    left: &ColumnarValue,
    right: &ColumnarValue,
    operation: fn(T::Native, T::Native) -> Option<T::Native>,
) -> Result<ArrayRef> {
    let array = |value: &ColumnarValue| match value {
        ColumnarValue::Array(array) => Ok(Arc::clone(array)),
        ColumnarValue::Scalar(scalar) => scalar.to_array(),
    };
    let (left_array, right_array) = (array(left)?, array(right)?);
    let (Some(a), Some(b)) = (left_array.as_primitive_opt::<T>(), right_array.as_primitive_opt::<T>()) else {
        return exec_err!("arithmetic on {} and {}", left_array.data_type(), right_array.data_type());
    };
    let single = |value: &ColumnarValue, array: &PrimitiveArray<T>| match value {
        ColumnarValue::Scalar(_) => Some(array.is_valid(0).then(|| array.value(0))),
        ColumnarValue::Array(_) => None,
    };
    let result: PrimitiveArray<T> = match (single(left, a), single(right, b)) {
        (Some(None), _) => PrimitiveArray::new_null(b.len()),
        (_, Some(None)) => PrimitiveArray::new_null(a.len()),
        (_, Some(Some(right))) => a.unary_opt(|left| operation(left, right)),
        (Some(Some(left)), None) => b.unary_opt(|right| operation(left, right)),
        (None, None) => a.iter().zip(b.iter()).map(|(left, right)| operation(left?, right?)).collect(),
    };
    Ok(Arc::new(result))
}

/// `time + interval`, `time - time` and the like.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimeArithmetic {
    subtract: bool,
    result: DataType,
    signature: Signature,
}

impl TimeArithmetic {
    pub(super) fn new(subtract: bool, result: DataType) -> Self {
        Self { subtract, result, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TimeArithmetic {
    fn name(&self) -> &str {
        if self.subtract { "$time_subtract" } else { "$time_add" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = &ColumnarValue::values_to_arrays(&arguments.args)?[..] else {
            return exec_err!("arithmetic takes two values");
        };
        let sum = if self.subtract { numeric::sub(left, right)? } else { numeric::add(left, right)? };
        Ok(ColumnarValue::Array(if sum.data_type() == &self.result { sum } else { cast(&sum, &self.result)? }))
    }
}

//! `bin_to_dec()` (vendor protocol §5.2): a payload of 1 to 8 bytes as a whole number, the highest byte first. NULL where it
//! is longer, is empty, or does not fit into a bigint.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array},
    datatypes::DataType,
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct BinToDec {
    signature: Signature,
}

impl BinToDec {
    pub(super) fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Binary], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for BinToDec {
    fn name(&self) -> &str {
        "$bin_to_dec"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [payloads] = &ColumnarValue::values_to_arrays(&arguments.args)?[..] else {
            return exec_err!("bin_to_dec takes bytes");
        };
        let Some(payloads) = payloads.as_binary_opt::<i32>() else { return exec_err!("bin_to_dec takes bytes") };
        let numbers: Int64Array = payloads.iter().map(|payload| number(payload?)).collect();
        Ok(ColumnarValue::Array(Arc::new(numbers) as ArrayRef))
    }
}

fn number(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let number = bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    i64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_byte_comes_first() {
        assert_eq!(number(&[1, 2]), Some(258));
        assert_eq!(number(&[0x7f, 255, 255, 255, 255, 255, 255, 255]), Some(i64::MAX));
        for none in [&[][..], &[255; 8], &[0; 9]] {
            assert_eq!(number(none), None);
        }
    }
}

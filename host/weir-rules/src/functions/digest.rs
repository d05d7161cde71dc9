//! Digests of texts in lower-case hexadecimal: `crypto(text, 'SHA256')` (vendor protocol §5.2), `sha256(text)`.

use std::{fmt::Write as _, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, StringArray},
    datatypes::DataType,
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("md5", Self::Md5),
        ("sha1", Self::Sha1),
        ("sha256", Self::Sha256),
        ("sha384", Self::Sha384),
        ("sha512", Self::Sha512),
    ];

    /// In any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, algorithm)| algorithm)
    }

    fn hexadecimal(self, text: &str) -> String {
        let digest = match self {
            Self::Md5 => Md5::digest(text).to_vec(),
            Self::Sha1 => Sha1::digest(text).to_vec(),
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha384 => Sha384::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        };
        digest.iter().fold(String::with_capacity(digest.len() * 2), |mut hexadecimal, byte| {
            // Writing to a String cannot fail.
            let _written = write!(hexadecimal, "{byte:02x}");
            hexadecimal
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Digest {
    algorithm: Algorithm,
    signature: Signature,
}

impl Digest {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Digest {
    fn name(&self) -> &str {
        Algorithm::ALL.iter().find(|(_, algorithm)| *algorithm == self.algorithm).map_or("digest", |(name, _)| name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts] = &ColumnarValue::values_to_arrays(&arguments.args)?[..] else {
            return exec_err!("a digest takes one text");
        };
        let Some(texts) = texts.as_string_opt::<i32>() else { return exec_err!("a digest takes a text") };
        let digests: StringArray = texts.iter().map(|text| Some(self.algorithm.hexadecimal(text?))).collect();
        Ok(ColumnarValue::Array(Arc::new(digests) as ArrayRef))
    }
}

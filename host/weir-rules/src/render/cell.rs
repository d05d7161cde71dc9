//! Values of Arrow columns as JSON, and as the plain text that settings are made of.
//!
//! Integral doubles print without a fraction as far as they are exact, infinities and NaN as `null`, times as RFC 3339
//! in UTC, bytes as base64. What JSON has no form for is a string.

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array,
        ListArray, StringArray, UInt64Array,
    },
    buffer::NullBuffer,
    compute::cast,
    datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit, UInt64Type},
    util::display::{ArrayFormatter, FormatOptions},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::time;
use crate::extract::quote;

/// Up to it every integer is exact as a double.
const EXACT: f64 = (1_u64 << 53) as f64;

/// A column, its type looked at once.
#[derive(Debug)]
pub(crate) struct Cells {
    nulls: Option<NullBuffer>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Null,
    Double(Float64Array),
    Single(Float32Array),
    Integer(Int64Array),
    Unsigned(UInt64Array),
    Boolean(BooleanArray),
    Text(StringArray),
    /// Text that is JSON already.
    Json(StringArray),
    Time(Int64Array, TimeUnit),
    Date(Int32Array),
    Bytes(BinaryArray),
    List(ListArray, Box<Cells>),
    Struct(Vec<(String, Cells)>),
    Other(ArrayRef),
}

impl Cells {
    pub(crate) fn new(array: &ArrayRef, is_json: bool) -> Self {
        let values = Values::of(array, is_json).unwrap_or_else(|| Values::Other(array.clone()));
        Self { nulls: array.logical_nulls(), values }
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value of a row as JSON.
    #[inline]
    pub(crate) fn write_json(&self, row: usize, into: &mut Vec<u8>) {
        if self.is_null(row) {
            into.extend_from_slice(b"null");
        } else {
            self.values.write_json(row, into);
        }
    }

    /// Appends the value of a row, which is not null, as text without quotes.
    pub(crate) fn write_plain(&self, row: usize, into: &mut Vec<u8>) {
        self.values.write_plain(row, into);
    }
}

impl Values {
    fn of(array: &ArrayRef, is_json: bool) -> Option<Self> {
        let to = |data_type| cast(array, &data_type).ok();
        Some(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(array.as_boolean_opt()?.clone()),
            DataType::Float64 => Self::Double(array.as_primitive_opt::<Float64Type>()?.clone()),
            DataType::Float16 | DataType::Float32 => {
                Self::Single(to(DataType::Float32)?.as_primitive_opt::<Float32Type>()?.clone())
            }
            DataType::UInt64 => Self::Unsigned(array.as_primitive_opt::<UInt64Type>()?.clone()),
            DataType::Int64 => Self::Integer(array.as_primitive_opt::<Int64Type>()?.clone()),
            data_type if data_type.is_integer() => {
                Self::Integer(to(DataType::Int64)?.as_primitive_opt::<Int64Type>()?.clone())
            }
            DataType::Utf8 if is_json => Self::Json(array.as_string_opt()?.clone()),
            DataType::Utf8 => Self::Text(array.as_string_opt()?.clone()),
            DataType::LargeUtf8 | DataType::Utf8View => return Self::of(&to(DataType::Utf8)?, is_json),
            DataType::Timestamp(unit, _) => {
                Self::Time(to(DataType::Int64)?.as_primitive_opt::<Int64Type>()?.clone(), *unit)
            }
            DataType::Date32 => Self::Date(to(DataType::Int32)?.as_primitive_opt::<Int32Type>()?.clone()),
            DataType::Date64 => return Self::of(&to(DataType::Timestamp(TimeUnit::Millisecond, None))?, false),
            DataType::Binary => Self::Bytes(array.as_binary_opt()?.clone()),
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                return Self::of(&to(DataType::Binary)?, false);
            }
            DataType::List(_) => {
                let list = array.as_list_opt::<i32>()?;
                Self::List(list.clone(), Box::new(Cells::new(list.values(), is_json)))
            }
            DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                return Self::of(&to(DataType::List(field.clone()))?, is_json);
            }
            DataType::Struct(_) => {
                let fields = array.as_struct_opt()?;
                let columns = fields.column_names().into_iter().zip(fields.columns());
                Self::Struct(columns.map(|(name, column)| (name.to_owned(), Cells::new(column, false))).collect())
            }
            _ => return None,
        })
    }

    #[inline]
    fn write_json(&self, row: usize, into: &mut Vec<u8>) {
        match self {
            Self::Null => into.extend_from_slice(b"null"),
            Self::Text(array) => quote(array.value(row), into),
            Self::List(array, items) => {
                into.push(b'[');
                let offsets = array.value_offsets();
                let start = offsets.get(row).copied().unwrap_or(0);
                for item in start..offsets.get(row + 1).copied().unwrap_or(start) {
                    if item > start {
                        into.push(b',');
                    }
                    items.write_json(item as usize, into);
                }
                into.push(b']');
            }
            Self::Struct(columns) => {
                into.push(b'{');
                for (i, (name, cells)) in columns.iter().enumerate() {
                    if i > 0 {
                        into.push(b',');
                    }
                    quote(name, into);
                    into.push(b':');
                    cells.write_json(row, into);
                }
                into.push(b'}');
            }
            Self::Time(..) | Self::Date(_) | Self::Bytes(_) => {
                into.push(b'"');
                self.write_plain(row, into);
                into.push(b'"');
            }
            Self::Other(_) => {
                let mut plain = Vec::new();
                self.write_plain(row, &mut plain);
                quote(&String::from_utf8_lossy(&plain), into);
            }
            _ => self.write_plain(row, into),
        }
    }

    fn write_plain(&self, row: usize, into: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Double(array) => write_double(array.value(row), into),
            Self::Single(array) => write_single(array.value(row), into),
            Self::Integer(array) => write_number(array.value(row), into),
            Self::Unsigned(array) => write_number(array.value(row), into),
            Self::Boolean(array) => into.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Self::Text(array) | Self::Json(array) => into.extend_from_slice(array.value(row).as_bytes()),
            Self::Time(array, unit) => time::write_instant(array.value(row), *unit, into),
            Self::Date(array) => time::write_date(i64::from(array.value(row)), into),
            Self::Bytes(array) => into.extend_from_slice(STANDARD.encode(array.value(row)).as_bytes()),
            Self::List(..) | Self::Struct(_) => self.write_json(row, into),
            Self::Other(array) => {
                let options = FormatOptions::default();
                if let Ok(formatter) = ArrayFormatter::try_new(array, &options) {
                    into.extend_from_slice(formatter.value(row).to_string().as_bytes());
                }
            }
        }
    }
}

fn write_double(value: f64, into: &mut Vec<u8>) {
    if value.abs() <= EXACT && value.trunc() == value {
        // The cast is exact up to 2^53.
        write_number(value as i64, into);
    } else {
        write_number(value, into);
    }
}

fn write_single(value: f32, into: &mut Vec<u8>) {
    if f64::from(value).abs() <= EXACT && value.trunc() == value {
        write_number(value as i64, into);
    } else {
        write_number(value, into);
    }
}

/// The shortest text that reads back as the same number; NaN and the infinities are `null`.
fn write_number(number: impl serde::Serialize, into: &mut Vec<u8>) {
    let before = into.len();
    if serde_json::to_writer(&mut *into, &number).is_err() {
        into.truncate(before);
        into.extend_from_slice(b"null");
    }
}

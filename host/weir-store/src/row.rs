//! Columns to values and back.

use std::str::FromStr;

use rusqlite::{Error, Row, types::Type};
use serde::{
    Serialize,
    de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};
use weir_core::{Fingerprint, Offset, Timestamp};

use crate::StoreError;

/// A name or id from its text.
pub(crate) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text(row, column)?.parse().map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(text(row, column)?)
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// One of a closed list of words.
pub(crate) fn word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let word: StrDeserializer<'_, serde::de::value::Error> = text(row, column)?.into_deserializer();
    T::deserialize(word).map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.to_string()))
}

/// Counters and offsets use all 64 bits; SQLite's integers are signed, so the bits are kept and the sign is not meant.
pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

pub(crate) fn offset(row: &Row<'_>, column: usize) -> rusqlite::Result<Offset> {
    unsigned(row, column).map(Offset)
}

pub(crate) fn optional_offset(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Offset>> {
    let value: Option<i64> = row.get(column)?;
    Ok(value.map(|bits| Offset(bits.cast_unsigned())))
}

pub(crate) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp)
}

pub(crate) fn fingerprint(row: &Row<'_>, column: usize) -> rusqlite::Result<Fingerprint> {
    row.get(column).map(Fingerprint::new)
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    row.get_ref(column)?.as_str().map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

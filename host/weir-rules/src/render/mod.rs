//! Columns to what targets take: rows as JSON, settings as text.
//!
//! Nothing here evaluates SQL or reads payloads, save that `*` copies their members.

mod cell;
mod column;
mod rows;
mod text;
mod time;

use datafusion_common::ScalarValue;

pub(crate) use self::{
    cell::Cells,
    column::{At, Columns, Grow, RowColumn, TextColumn},
    rows::RowForm,
    text::{TextForm, TextPiece},
};

/// An instant in milliseconds since 1970.
pub(crate) fn write_instant_ms(milliseconds: i64, into: &mut Vec<u8>) {
    time::write_instant(milliseconds, arrow::datatypes::TimeUnit::Millisecond, into);
}

/// A literal as JSON.
pub(crate) fn literal_json(value: &ScalarValue, is_json: bool) -> Vec<u8> {
    let mut json = Vec::new();
    match value.to_array() {
        Ok(array) => Cells::new(&array, is_json).write_json(0, &mut json),
        Err(_) => json.extend_from_slice(b"null"),
    }
    json
}

/// A literal as plain text; `None` if it is NULL.
pub(crate) fn literal_text(value: &ScalarValue) -> Option<String> {
    let cells = Cells::new(&value.to_array().ok()?, false);
    let mut plain = Vec::new();
    if cells.is_null(0) {
        return None;
    }
    cells.write_plain(0, &mut plain);
    String::from_utf8(plain).ok()
}

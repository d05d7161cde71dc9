//! Columns to what targets take: rows as JSON, settings as text.
//!
//! Nothing here evaluates SQL or reads payloads, save that `*` copies their members.

mod cell;
mod rows;
mod text;
mod time;

use arrow::{
    array::BinaryArray,
    buffer::{Buffer, OffsetBuffer},
};

pub(crate) use self::{
    cell::Cells,
    rows::RowForm,
    text::{TextForm, TextPiece},
};

/// More bytes than one Arrow column can hold: 2^31.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// A column of the pieces of `bytes` between `offsets`, which begin with 0 and never fall.
fn packed(bytes: Vec<u8>, offsets: Vec<i32>) -> Result<BinaryArray, TooLarge> {
    BinaryArray::try_new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(bytes), None).map_err(|_| TooLarge)
}

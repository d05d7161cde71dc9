//! Rows as JSON objects.

use std::collections::HashSet;

use arrow::array::{ArrayRef, BinaryArray};

use super::{TooLarge, cell::Cells, packed};
use crate::extract::{Items, quote};

/// Members up to which duplicates are sought by comparing each with each.
const FEW_MEMBERS: usize = 24;

/// The form of a rule's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowForm {
    /// The payload's members come first.
    star: bool,
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    /// The name in quotes with its colon.
    label: Box<[u8]>,
    is_json: bool,
}

impl RowForm {
    /// `columns`: names, and whether their values are JSON text.
    pub(crate) fn new<'a>(star: bool, columns: impl Iterator<Item = (&'a str, bool)>) -> Self {
        let columns = columns.map(|(name, is_json)| {
            let mut label = Vec::new();
            quote(name, &mut label);
            label.push(b':');
            Column { name: name.to_owned(), label: label.into(), is_json }
        });
        Self { star, columns: columns.collect() }
    }

    /// The names of the columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Whether rows are payloads as they came.
    pub(crate) fn is_passthrough(&self) -> bool {
        self.star && self.columns.is_empty()
    }

    /// Whether rows take members from the payload, which must then be an object.
    pub(crate) fn takes_members(&self) -> bool {
        self.star && !self.columns.is_empty()
    }

    /// One object for each row. `arrays` are the values of the columns; `payload` is asked only if the rows take
    /// members.
    pub(crate) fn render<'a>(
        &self,
        rows: usize,
        arrays: &[ArrayRef],
        payload: impl Fn(usize) -> &'a str,
    ) -> Result<BinaryArray, TooLarge> {
        let cells: Vec<Cells> =
            arrays.iter().zip(&self.columns).map(|(array, column)| Cells::new(array, column.is_json)).collect();
        let mut bytes = Vec::with_capacity(rows * 64);
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        for row in 0..rows {
            bytes.push(b'{');
            if self.star {
                self.write_members(payload(row), row, &cells, &mut bytes);
            } else {
                for (column, cells) in self.columns.iter().zip(&cells) {
                    bytes.extend_from_slice(&column.label);
                    cells.write_json(row, &mut bytes);
                    bytes.push(b',');
                }
            }
            // The last comma becomes the end.
            match bytes.last_mut() {
                Some(last) if *last == b',' => *last = b'}',
                _ => bytes.push(b'}'),
            }
            offsets.push(i32::try_from(bytes.len()).map_err(|_| TooLarge)?);
        }
        packed(bytes, offsets)
    }

    /// The payload's members in their order, of duplicates the last, those replaced that a column is named after; then
    /// the other columns.
    fn write_members(&self, payload: &str, row: usize, cells: &[Cells], into: &mut Vec<u8>) {
        let members: Vec<_> = Items::of(payload).map(|member| (member.key(), member)).collect();
        let mut later = HashSet::new();
        let mut is_last = vec![true; members.len()];
        for (i, ((key, _), is_last)) in members.iter().zip(&mut is_last).enumerate().rev() {
            *is_last = if members.len() <= FEW_MEMBERS {
                !members.iter().skip(i + 1).any(|(other, _)| other == key)
            } else {
                later.insert(key.as_ref())
            };
        }
        let mut is_placed = vec![false; self.columns.len()];
        for ((key, member), is_last) in members.iter().zip(is_last) {
            if !is_last {
                continue;
            }
            let named = self.columns.iter().zip(cells).zip(&mut is_placed).find(|((column, _), _)| column.name == *key);
            if let Some(((column, cells), is_placed)) = named {
                into.extend_from_slice(&column.label);
                cells.write_json(row, into);
                *is_placed = true;
            } else {
                into.push(b'"');
                into.extend_from_slice(member.raw_key().as_bytes());
                into.extend_from_slice(b"\":");
                into.extend_from_slice(member.value.as_bytes());
            }
            into.push(b',');
        }
        for ((column, cells), is_placed) in self.columns.iter().zip(cells).zip(is_placed) {
            if !is_placed {
                into.extend_from_slice(&column.label);
                cells.write_json(row, into);
                into.push(b',');
            }
        }
    }
}

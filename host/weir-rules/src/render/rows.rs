//! Rows as JSON objects.

use std::collections::HashSet;

use crate::extract::{Items, quote};

/// Members up to which duplicates are sought by comparing each with each.
const FEW_MEMBERS: usize = 24;

/// The form of a rule's rows.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowForm {
    /// The payload's members come first.
    star: bool,
    columns: Vec<Column>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Column {
    name: String,
    /// The name in quotes with its colon, and the value if it is always the same.
    label: Box<[u8]>,
    is_constant: bool,
    is_json: bool,
}

impl RowForm {
    /// `columns`: names, whether their values are JSON text, and the values of constants as JSON.
    pub(crate) fn new<'a>(star: bool, columns: impl Iterator<Item = (&'a str, bool, Option<Vec<u8>>)>) -> Self {
        let columns = columns.map(|(name, is_json, constant)| {
            let mut label = Vec::new();
            quote(name, &mut label);
            label.push(b':');
            let is_constant = constant.is_some();
            label.extend(constant.unwrap_or_default());
            Column { name: name.to_owned(), label: label.into(), is_constant, is_json }
        });
        Self { star, columns: columns.collect() }
    }

    /// The columns: their names, and whether their values are JSON text.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, bool)> {
        self.columns.iter().map(|column| (column.name.as_str(), column.is_json))
    }

    /// Whether rows are payloads as they came.
    pub(crate) fn is_passthrough(&self) -> bool {
        self.star && self.columns.is_empty()
    }

    /// Whether rows take members from the payload, which must then be an object.
    pub(crate) fn takes_members(&self) -> bool {
        self.star && !self.columns.is_empty()
    }

    /// Appends one row. `payload` is what members are taken from, if they are; `value` appends the value of a column.
    #[inline]
    pub(crate) fn write(&self, payload: &str, value: impl Fn(usize, &mut Vec<u8>), into: &mut Vec<u8>) {
        into.push(b'{');
        if self.star {
            self.write_members(payload, &value, into);
        } else {
            for (number, column) in self.columns.iter().enumerate() {
                column.write(number, &value, into);
            }
        }
        // The last comma becomes the end.
        match into.last_mut() {
            Some(last) if *last == b',' => *last = b'}',
            _ => into.push(b'}'),
        }
    }

    /// The payload's members in their order, of duplicates the last, those replaced that a column is named after; then
    /// the other columns.
    fn write_members(&self, payload: &str, value: &impl Fn(usize, &mut Vec<u8>), into: &mut Vec<u8>) {
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
            let mut columns = self.columns.iter().zip(&mut is_placed).enumerate();
            if let Some((number, (column, is_placed))) = columns.find(|(_, (column, _))| column.name == *key) {
                column.write(number, value, into);
                *is_placed = true;
            } else {
                into.push(b'"');
                into.extend_from_slice(member.raw_key().as_bytes());
                into.extend_from_slice(b"\":");
                into.extend_from_slice(member.value.as_bytes());
                into.push(b',');
            }
        }
        for (number, (column, is_placed)) in self.columns.iter().zip(is_placed).enumerate() {
            if !is_placed {
                column.write(number, value, into);
            }
        }
    }
}

impl Column {
    #[inline]
    fn write(&self, number: usize, value: &impl Fn(usize, &mut Vec<u8>), into: &mut Vec<u8>) {
        into.extend_from_slice(&self.label);
        if !self.is_constant {
            value(number, into);
        }
        into.push(b',');
    }
}

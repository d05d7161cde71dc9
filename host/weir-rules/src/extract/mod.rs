//! Values out of JSON payloads: one pass over each payload for all paths that are asked for.
//!
//! A payload that is not strictly JSON fails for itself alone, and none of its values is used. A missing value, JSON
//! `null` and a value of another type than demanded are NULL; the last are reported. Which rules ask for the paths is
//! not known here.

mod canonical;
mod column;
mod members;
mod number;
mod paths;
mod scan;
#[cfg(test)]
mod tests;
mod text;

use arrow::array::{Array, ArrayRef, BinaryArray};

use self::{column::ColumnBuilder, paths::PathTree, scan::Span};
use crate::program::{ColumnType, JsonPath};

pub use self::scan::MAX_DEPTH;
pub(crate) use self::{members::Items, text::quote};

/// Reads a set of columns out of payloads.
#[derive(Debug, Clone)]
pub struct Extractor {
    tree: PathTree,
    /// For each column its slot in the tree.
    columns: Vec<(usize, ColumnType)>,
}

/// What was read from a list of payloads.
#[derive(Debug)]
pub struct Extracted {
    /// In the order in which they were asked for; as long as the list.
    pub columns: Vec<ArrayRef>,
    /// The places in the list whose payload is not JSON, ascending.
    pub malformed: Vec<u32>,
    /// For each column the places whose value is of another type, ascending.
    pub mismatches: Vec<Vec<u32>>,
}

impl Extractor {
    pub fn new(columns: &[(JsonPath, ColumnType)]) -> Self {
        let (tree, slots) = PathTree::new(columns.iter().map(|(path, _)| path));
        let columns = slots.into_iter().zip(columns).map(|(slot, (_, column_type))| (slot, *column_type)).collect();
        Self { tree, columns }
    }

    /// Reads the payloads of `rows`.
    pub fn extract(&self, payloads: &BinaryArray, rows: &[u32]) -> Extracted {
        let mut builders: Vec<_> =
            self.columns.iter().map(|(_, column_type)| ColumnBuilder::new(*column_type, rows.len())).collect();
        let mut malformed = Vec::new();
        let mut mismatches = vec![Vec::new(); self.columns.len()];
        let mut slots = Vec::new();
        let texts = Texts::new(payloads, rows.len());
        for (place, row) in (0..).zip(rows) {
            let text = texts.get(*row as usize).filter(|text| self.tree.walk(text, &mut slots).is_some());
            let Some(text) = text else {
                malformed.push(place);
                builders.iter_mut().for_each(ColumnBuilder::append_null);
                continue;
            };
            for (((slot, _), builder), mismatches) in self.columns.iter().zip(&mut builders).zip(&mut mismatches) {
                let span = slots.get(*slot).copied().unwrap_or(Span::MISSING);
                if !builder.append(text, span) {
                    mismatches.push(place);
                }
            }
        }
        Extracted { columns: builders.into_iter().map(ColumnBuilder::finish).collect(), malformed, mismatches }
    }
}

/// Payloads as texts.
struct Texts<'a> {
    payloads: &'a BinaryArray,
    /// All of them in one, if all is UTF-8: then a payload that begins and ends between characters is as well. With the
    /// offset at which it begins.
    whole: Option<(&'a str, usize)>,
}

impl<'a> Texts<'a> {
    /// `wanted`: how many payloads will be asked for. Checking all of them at once pays if that is most of them.
    fn new(payloads: &'a BinaryArray, wanted: usize) -> Self {
        let is_worthwhile = wanted > 1 && wanted >= payloads.len() / 2;
        Self { payloads, whole: if is_worthwhile { whole(payloads) } else { None } }
    }

    #[inline]
    fn get(&self, row: usize) -> Option<&'a str> {
        let Some((whole, start)) = self.whole else {
            let payload = if row < self.payloads.len() { self.payloads.value(row) } else { return None };
            return simdutf8::basic::from_utf8(payload).ok();
        };
        let offsets = self.payloads.value_offsets();
        whole.get(*offsets.get(row)? as usize - start..*offsets.get(row + 1)? as usize - start)
    }
}

fn whole(payloads: &BinaryArray) -> Option<(&str, usize)> {
    let (start, end) = (*payloads.value_offsets().first()? as usize, *payloads.value_offsets().last()? as usize);
    let bytes = payloads.value_data().get(start..end)?;
    Some((simdutf8::basic::from_utf8(bytes).ok()?, start))
}

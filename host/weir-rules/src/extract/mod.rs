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
        let mut extraction = Extraction::new(payloads, rows.len());
        let targets: Vec<usize> =
            self.columns.iter().map(|(_, column_type)| extraction.column(*column_type, rows.len())).collect();
        extraction.read(self, &targets, rows);
        let (columns, malformed) = extraction.finish();
        let (columns, mismatches) = columns.into_iter().map(|column| (column.array, column.mismatches)).unzip();
        Extracted { columns, malformed, mismatches }
    }
}

/// Reads the payloads of one batch by several extractors, which may have columns in common.
///
/// Payloads are counted as they are read: the place of a row is how many were read before it. A column begins with the
/// first payload of the first extractor that reads it, ends with the last of the last, and is NULL where others read
/// between them. So it has a row for each payload at most.
pub(crate) struct Extraction<'a> {
    texts: Texts<'a>,
    columns: Vec<Growing>,
    malformed: Vec<u32>,
    read: u32,
    slots: Vec<Span>,
}

struct Growing {
    builder: ColumnBuilder,
    base: u32,
    mismatches: Vec<u32>,
}

/// A column that was read.
#[derive(Debug)]
pub(crate) struct ReadColumn {
    pub(crate) array: ArrayRef,
    /// The place of its first row.
    pub(crate) base: u32,
    /// The places whose value is of another type, ascending.
    pub(crate) mismatches: Vec<u32>,
}

impl<'a> Extraction<'a> {
    /// `rows`: how many payloads will be read.
    pub(crate) fn new(payloads: &'a BinaryArray, rows: usize) -> Self {
        let texts = Texts::new(payloads, rows);
        Self { texts, columns: Vec::new(), malformed: Vec::new(), read: 0, slots: Vec::new() }
    }

    /// Adds a column that begins here, for about so many rows.
    pub(crate) fn column(&mut self, column_type: ColumnType, rows: usize) -> usize {
        let builder = ColumnBuilder::new(column_type, rows);
        self.columns.push(Growing { builder, base: self.read, mismatches: Vec::new() });
        self.columns.len() - 1
    }

    /// Reads payloads into the columns `targets`, in the order of the extractor's own.
    pub(crate) fn read(&mut self, extractor: &Extractor, targets: &[usize], rows: &[u32]) {
        for target in targets {
            if let Some(column) = self.columns.get_mut(*target) {
                column.builder.pad((self.read - column.base) as usize);
            }
        }
        for row in rows {
            let place = self.read;
            self.read += 1;
            let text = self.texts.get(*row as usize);
            let text = text.filter(|text| extractor.tree.walk(text, &mut self.slots).is_some());
            if text.is_none() {
                self.malformed.push(place);
            }
            for (target, (slot, _)) in targets.iter().zip(&extractor.columns) {
                let Some(column) = self.columns.get_mut(*target) else { continue };
                let Some(text) = text else {
                    column.builder.append_null();
                    continue;
                };
                let span = self.slots.get(*slot).copied().unwrap_or(Span::MISSING);
                if !column.builder.append(text, span) {
                    column.mismatches.push(place);
                }
            }
        }
    }

    /// The columns, and the places whose payload is not JSON, ascending.
    pub(crate) fn finish(self) -> (Vec<ReadColumn>, Vec<u32>) {
        let columns = self.columns.into_iter().map(|Growing { builder, base, mismatches }| ReadColumn {
            array: builder.finish(),
            base,
            mismatches,
        });
        (columns.collect(), self.malformed)
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

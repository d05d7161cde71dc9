//! Matching rows written: as JSON, and as the texts of settings.

use smallvec::SmallVec;

use super::{
    batch::{Batch, Order},
    index::Part,
    run::{Member, Run},
};
use crate::render::{At, Cells, Columns, RowColumn, TextColumn};

const NOT_AN_OBJECT: &str = "the payload is no JSON object, so * has no members";

/// Where the rows and settings of a member are.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) rows: At,
    pub(super) texts: At,
    pub(super) count: usize,
    /// Matching rows that were left out, ascending.
    pub(super) skipped: Vec<u32>,
    /// What failed while rows were written.
    pub(super) failed: Vec<(u32, &'static str)>,
}

/// A value that is written, and where its rows are.
pub(super) struct Cell<'a> {
    cells: &'a Cells,
    place: CellPlace,
}

#[derive(Clone, Copy)]
enum CellPlace {
    Record(Order),
    From(usize),
}

impl Cell<'_> {
    /// `row` of the batch is the `number`th that matched.
    #[inline]
    fn at(&self, batch: &Batch<'_>, row: u32, number: usize) -> usize {
        match self.place {
            CellPlace::Record(order) => batch.at(order, row) as usize,
            CellPlace::From(start) => start + number,
        }
    }
}

pub(super) fn write(
    run: &Run<'_>,
    member: &Member<'_>,
    cells: &[Option<Cell<'_>>],
    rows: &mut Columns<RowColumn>,
    texts: &mut Columns<TextColumn>,
) -> Piece {
    let matched = run.list(&member.matched);
    let (batch, form) = (run.batch, &member.rule.rows);
    let mut piece = Piece { rows: rows.begin(), texts: texts.begin(), ..Piece::default() };
    for (number, row) in matched.iter().enumerate() {
        if member.is_spoiled(*row) {
            piece.skipped.push(*row);
            continue;
        }
        let payload = if form.takes_members() { batch.text(*row).unwrap_or_default() } else { "" };
        let written = if form.takes_members() && !payload.trim_ascii_start().starts_with('{') {
            Err(NOT_AN_OBJECT)
        } else if form.is_passthrough() {
            rows.last.push(|bytes| bytes.extend_from_slice(batch.payload(*row)))
        } else {
            let value = |column: usize, into: &mut Vec<u8>| match cells.get(column) {
                Some(Some(cell)) => cell.cells.write_json(cell.at(batch, *row, number), into),
                _ => into.extend_from_slice(b"null"),
            };
            rows.last.push(|bytes| form.write(payload, value, bytes))
        };
        if let Err(reason) = written {
            piece.failed.push((*row, reason));
            piece.skipped.push(*row);
        }
    }
    piece.count = matched.len() - piece.skipped.len();
    for form in member.rule.actions.iter().flatten() {
        for (number, row) in matched.iter().enumerate() {
            if !piece.skipped.is_empty() && piece.skipped.binary_search(row).is_ok() {
                continue;
            }
            let value = |value: usize| {
                let cell = cells.get(value)?.as_ref()?;
                Some((cell.cells, cell.at(batch, *row, number)))
            };
            texts.last.push(|text| form.write(value, text));
        }
    }
    piece
}

/// What writes each value of a rule; nothing for literals, which need no column.
pub(super) fn cells<'a>(run: &'a Run<'_>, member: &Member<'_>) -> SmallVec<[Option<Cell<'a>>; 8]> {
    let mut places = member.computed.iter();
    let cells = member.parts.values.iter().map(|part| match part {
        Part::Literal => None,
        Part::Input { number, is_json } => {
            let column = run.batch.column(*number)?;
            let cells = column.written.cells(&column.array, *is_json);
            Some(Cell { cells, place: CellPlace::Record(column.order) })
        }
        Part::Computed { is_json, .. } => {
            let place = places.next()?;
            let (array, written) = run.columns.get(place.column)?;
            Some(Cell { cells: written.cells(array, *is_json), place: CellPlace::From(place.start) })
        }
    });
    cells.collect()
}

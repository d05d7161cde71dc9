//! What came of a run: rows for the actions of each rule, and the counts.
//!
//! All rows of a batch are written into one column, and each rule gets its piece of it.

use std::{iter, ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt32Array, new_empty_array},
    compute::take,
};
use hashbrown::HashMap;
use weir_core::seams::{Failures, Rows, RuleEvaluation, RulePart};

use super::{
    batch::Batch,
    compute::{compute_own, pick},
    index::Part,
    rule::Value,
    run::{Member, Run},
    write::{Piece, cells, write},
};
use crate::{
    program::Input,
    render::{Cells, Columns, Grow, RowColumn, TextColumn, TextForm},
};

/// What each rule made.
pub(super) fn report(run: &Run<'_>) -> Vec<RuleEvaluation> {
    let matched = || run.members.iter().map(|member| (member, member.matched.len()));
    let mut rows = Columns::<RowColumn>::new(matched().map(|(_, rows)| rows).sum());
    let settings = |member: &Member<'_>| member.rule.actions.iter().map(Vec::len).sum::<usize>();
    let mut texts = Columns::<TextColumn>::new(matched().map(|(member, rows)| rows * settings(member)).sum());
    let mut last = None;
    let pieces = run.members.iter().map(|member| {
        if member.matched.is_empty() {
            return Piece::default();
        }
        // Rules beside each other often write the same columns.
        let (parts, cells) = match last.take() {
            Some((parts, cells)) if Arc::ptr_eq(parts, &member.parts.values) && member.computed.is_empty() => {
                (parts, cells)
            }
            _ => (&member.parts.values, cells(run, member)),
        };
        let piece = write(run, member, &cells, &mut rows, &mut texts);
        last = Some((parts, cells));
        piece
    });
    let pieces: Vec<Piece> = pieces.collect();
    let (rows, texts) = (rows.finish(), texts.finish());
    let mut zeros: Arc<[u32]> = Arc::new([]);
    let mut counted = HashMap::new();
    let evaluations = run.members.iter().zip(pieces).map(|(member, mut piece)| {
        let matched = piece.count as u64;
        let actions = actions(run, member, &piece, &rows, &texts, &mut zeros);
        if !(member.failed.is_empty() && member.spoiled.is_empty()) {
            piece.failed.extend(member.failed.iter().chain(&member.spoiled));
            piece.failed.sort_unstable();
            // Several values of a row may have failed.
            piece.failed.dedup_by_key(|(row, _)| *row);
        }
        let (read, failed) = (member.read.len() as u64, piece.failed.len() as u64);
        RuleEvaluation {
            rule: member.rule.name.clone(),
            part: RulePart::Rows,
            read,
            matched,
            unmatched: read - matched - failed,
            failed,
            mismatches: mismatches(run, member, &mut counted),
            actions,
            failures: failures(run.batch, member, &piece.failed),
        }
    });
    evaluations.collect()
}

/// What the one rule of a run selects: its columns, for the matching rows of which no value failed.
#[derive(Debug, Default)]
pub(crate) struct Fed {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) rows: Vec<u32>,
    /// Messages that are for the rule.
    pub(crate) read: u64,
    pub(crate) failed: u64,
}

pub(super) fn fed(run: &Run<'_>) -> Option<Fed> {
    let member = run.members.first()?;
    let rows = run.list(&member.matched);
    let mut places = member.computed.iter();
    let mut columns = Vec::new();
    for (part, value) in member.parts.values.iter().zip(&member.rule.values) {
        columns.push(match (part, value) {
            (Part::Input { number, .. }, _) => pick(run.batch, run.batch.column(*number)?, rows).ok()?,
            (Part::Computed { .. }, Value::Computed(expression)) => match places.next() {
                Some(place) => run.columns.get(place.column)?.0.slice(place.start, rows.len()),
                // Nothing is computed where nothing matches.
                None => new_empty_array(&expression.own.data_type().ok()?),
            },
            (Part::Literal, Value::Literal(value)) => value.to_array_of_size(rows.len()).ok()?,
            (Part::Literal | Part::Computed { .. }, _) => return None,
        });
    }
    let mut rows = rows.to_vec();
    if !member.spoiled.is_empty() {
        let sound: Vec<u32> =
            (0..).zip(&rows).filter(|(_, row)| !member.is_spoiled(**row)).map(|(place, _)| place).collect();
        let sound = UInt32Array::from(sound);
        columns = columns.iter().map(|column| take(column, &sound, None)).collect::<Result<_, _>>().ok()?;
        rows.retain(|row| !member.is_spoiled(*row));
    }
    let read = member.read.len() as u64;
    let spoiled = member.matched.len() - rows.len();
    Some(Fed { columns, rows, read, failed: (member.failed.len() + spoiled) as u64 })
}

/// The columns that the one rule of a run selects, by their names.
pub(super) fn selected(run: &Run<'_>) -> Option<RecordBatch> {
    let names = run.members.first()?.rule.rows.columns().map(|(name, _)| name);
    let columns = names.zip(fed(run)?.columns).map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).ok()
}

fn actions(
    run: &Run<'_>,
    member: &Member<'_>,
    piece: &Piece,
    rows: &[BinaryArray],
    texts: &[StringArray],
    zeros: &mut Arc<[u32]>,
) -> Vec<Rows> {
    let Some(column) = rows.get(piece.rows.column).filter(|_| piece.count > 0) else { return Vec::new() };
    let matched = run.list(&member.matched);
    let source: Arc<[u32]> = if piece.skipped.is_empty() {
        Arc::from(matched)
    } else {
        matched.iter().copied().filter(|row| piece.skipped.binary_search(row).is_err()).collect()
    };
    if zeros.len() != piece.count {
        *zeros = iter::repeat_n(0, piece.count).collect();
    }
    let mut start = piece.texts.start;
    let actions = member.rule.actions.iter().map(|forms| {
        let arguments = forms.iter().map(|form| {
            let text = texts.get(piece.texts.column).map(|texts| texts.slice(start, piece.count));
            start += piece.count;
            (form.setting.clone(), text.unwrap_or_else(|| StringArray::new_null(piece.count)))
        });
        Rows {
            arguments: arguments.collect(),
            source: Arc::clone(&source),
            row: Arc::clone(zeros),
            payload: column.slice(piece.rows.start, piece.count),
        }
    });
    actions.collect()
}

/// `counted`: by input and rows how many were found, for rules that read the same rows.
fn mismatches(
    run: &Run<'_>,
    member: &Member<'_>,
    counted: &mut HashMap<(u32, Range<usize>), u64>,
) -> Vec<(String, u64)> {
    let mut mismatches: Vec<(String, u64)> = Vec::new();
    let Some(inputs) = member.parts.inputs.as_ref().filter(|_| run.batch.has_mismatches()) else { return mismatches };
    for number in inputs.iter() {
        let Some(Input::Path { path, .. }) = run.index.inputs.get(*number as usize) else { continue };
        let count = || run.batch.mismatches(*number, run.list(&member.read));
        let count = *counted.entry((*number, member.read.clone())).or_insert_with(count);
        if count == 0 {
            continue;
        }
        let path = path.to_string();
        // One path may be demanded in several types.
        match mismatches.iter_mut().find(|(other, _)| *other == path) {
            Some((_, sum)) => *sum += count,
            None => mismatches.push((path, count)),
        }
    }
    mismatches
}

fn failures(batch: &Batch<'_>, member: &Member<'_>, failed: &[(u32, &'static str)]) -> Option<Failures> {
    if failed.is_empty() {
        return None;
    }
    let source: Vec<u32> = failed.iter().map(|(row, _)| *row).collect();
    let reasons = failed.iter().map(|(_, reason)| (*reason).to_owned()).collect();
    let errors = &member.rule.errors;
    let values: Vec<Option<Cells>> =
        errors.values.iter().map(|value| Some(Cells::new(&of_envelope(batch, value, &source)?, false))).collect();
    let text = |form: &TextForm| {
        let mut texts = TextColumn::default();
        for row in 0..source.len() {
            texts.push(|text| form.write(|value| Some((values.get(value)?.as_ref()?, row)), text));
        }
        (form.setting.clone(), texts.finish())
    };
    let arguments = errors.forms.iter().map(text).collect();
    Some(Failures { source, reasons, arguments })
}

/// A value for messages that cannot be read: nothing but the envelope is.
fn of_envelope(batch: &Batch<'_>, value: &Value, rows: &[u32]) -> Option<ArrayRef> {
    let column = |input: &Input| match input {
        Input::Envelope(column) => batch.envelope(*column),
        Input::Path { .. } | Input::PayloadBytes | Input::PayloadJson => None,
    };
    match value {
        Value::Input(input) => pick(batch, column(input)?, rows).ok(),
        Value::Literal(value) => value.to_array_of_size(rows.len()).ok(),
        Value::Computed(expression) => {
            let columns: Option<Vec<_>> = expression.inputs.iter().map(column).collect();
            Some(compute_own(batch, &expression.own, &columns?, rows).ok()?.array)
        }
    }
}

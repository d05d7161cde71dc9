//! Expressions over rows of a batch.
//!
//! Rows of rules whose expressions have one shape are evaluated together: the inputs and literals of each come as
//! columns. An evaluation that fails or panics is tried again on the halves of its rows, down to single rows: a row fails
//! for itself alone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, NullArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array},
    compute::{concat, interleave, take},
    error::ArrowError,
};
use datafusion_common::{DataFusionError, internal_datafusion_err};
use hashbrown::HashMap;

use super::{
    batch::{Batch, Column, Order},
    expression::Shape,
    index::{Index, Numbered},
};

/// A row to evaluate: the number of the expression, and which record it is.
pub(super) type Pair = (u32, u32);

/// Values of rows.
#[derive(Debug)]
pub(super) struct Computed {
    /// One for each row; NULL where the evaluation failed.
    pub(super) array: ArrayRef,
    /// Which of the rows failed, ascending, and why. The reasons hold nothing of a payload.
    pub(super) failed: Vec<(usize, &'static str)>,
}

impl Computed {
    /// Every row failed.
    pub(super) fn failed(rows: usize, fault: &Fault) -> Self {
        let reason = fault.reason();
        Self { array: Arc::new(NullArray::new(rows)), failed: (0..rows).map(|row| (row, reason)).collect() }
    }
}

/// Evaluates pairs whose expressions have one shape. It is an error only if Arrow has no room for all values in one
/// column.
pub(super) fn compute(index: &Index, batch: &Batch<'_>, pairs: &[Pair]) -> Result<Computed, Fault> {
    let Some((first, _)) = pairs.first() else { return Ok(Computed::failed(0, &Fault::Unread)) };
    let first = index.expressions.get(*first as usize).ok_or(Fault::Unread)?;
    in_pieces(&first.expression.own, pairs, |pairs| attempt(index, batch, first, pairs))
}

/// The values of an expression that reads nothing but `inputs`.
pub(super) fn compute_own(batch: &Batch<'_>, own: &Shape, inputs: &[&Column], rows: &[u32]) -> Result<Computed, Fault> {
    in_pieces(own, rows, |rows| {
        let mut picks = Picks::default();
        let columns = inputs.iter().map(|column| picks.column(batch, column, rows.iter().copied()));
        evaluate(own, columns.collect::<Result<_, _>>()?, rows.len())
    })
}

/// The values of an input.
pub(super) fn pick(batch: &Batch<'_>, column: &Column, rows: &[u32]) -> Result<ArrayRef, ArrowError> {
    Picks::default().column(batch, column, rows.iter().copied())
}

/// Evaluates all rows at once, or else pieces of them that do not fail.
fn in_pieces<T>(own: &Shape, rows: &[T], attempt: impl Fn(&[T]) -> Result<ArrayRef, Fault>) -> Result<Computed, Fault> {
    let (mut arrays, mut failed, mut done) = (Vec::new(), Vec::new(), 0);
    let mut waiting = vec![rows];
    while let Some(piece) = waiting.pop() {
        match attempt(piece) {
            Ok(array) => arrays.push(array),
            Err(_) if piece.len() > 1 => {
                let (left, right) = piece.split_at(piece.len() / 2);
                waiting.extend([right, left]);
                continue;
            }
            Err(fault) => {
                arrays.push(new_null_array(&own.data_type()?, piece.len()));
                failed.push((done, fault.reason()));
            }
        }
        done += piece.len();
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
    Ok(Computed { array: concat(&arrays)?, failed })
}

/// `alike`: an expression that has the shape of all.
fn attempt(index: &Index, batch: &Batch<'_>, alike: &Numbered, pairs: &[Pair]) -> Result<ArrayRef, Fault> {
    let first = pairs.first().ok_or(Fault::Unread)?.0;
    let is_one = pairs.iter().all(|(expression, _)| *expression == first);
    let numbered = if is_one { index.expressions.get(first as usize).ok_or(Fault::Unread)? } else { alike };
    let rows = || pairs.iter().map(|(_, row)| *row);
    let shape = if is_one { &numbered.expression.own } else { &*numbered.expression.shape };
    let mut columns = Vec::with_capacity(shape.schema.fields().len());
    let mut picks = Picks::default();
    for (operand, input) in numbered.inputs.iter().enumerate() {
        let input_of = |pair: &Pair| index.expressions.get(pair.0 as usize)?.inputs.get(operand).copied();
        columns.push(if is_one || pairs.iter().all(|pair| input_of(pair) == Some(*input)) {
            picks.column(batch, batch.column(*input).ok_or(Fault::Unread)?, rows())?
        } else {
            interleaved(batch, pairs.iter().map(|pair| Some((batch.column(input_of(pair)?)?, pair.1))))?
        });
    }
    if !is_one {
        let places = pairs.iter().map(|pair| index.expressions.get(pair.0 as usize).map_or(0, |one| one.place));
        let places: UInt32Array = places.collect::<Vec<u32>>().into();
        let literals = index.literals.get(numbered.shape as usize).ok_or(Fault::Unread)?;
        for literal in literals.iter() {
            columns.push(take(literal, &places, None)?);
        }
    }
    evaluate(shape, columns, pairs.len())
}

fn evaluate(shape: &Shape, columns: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef, Fault> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let columns = RecordBatch::try_new_with_options(shape.schema.clone(), columns, &options)?;
    // Expressions keep no state that a panic could leave half changed, and other rules wait for theirs.
    let values = catch_unwind(AssertUnwindSafe(|| shape.expression.evaluate(&columns)?.into_array(rows)));
    let values = values.map_err(|_| Fault::Panic)??;
    if values.len() != rows {
        return Err(internal_datafusion_err!("{} values for {rows} rows", values.len()).into());
    }
    Ok(values)
}

/// Rows as Arrow wants them, by the order of columns; none where the rows are the whole column.
#[derive(Default)]
struct Picks(Vec<(Order, usize, Option<UInt32Array>)>);

impl Picks {
    fn column(
        &mut self,
        batch: &Batch<'_>,
        column: &Column,
        rows: impl ExactSizeIterator<Item = u32>,
    ) -> Result<ArrayRef, ArrowError> {
        let length = column.array.len();
        let known = self.0.iter().position(|(order, other, _)| *order == column.order && *other == length);
        let known = known.unwrap_or_else(|| {
            let indices: Vec<u32> = rows.map(|row| batch.at(column.order, row)).collect();
            let is_whole = indices.len() == length && (0..).zip(&indices).all(|(at, index): (u32, &u32)| at == *index);
            self.0.push((column.order, length, (!is_whole).then(|| indices.into())));
            self.0.len() - 1
        });
        match self.0.get(known) {
            Some((_, _, Some(indices))) => take(&column.array, indices, None),
            _ => Ok(ArrayRef::clone(&column.array)),
        }
    }
}

/// A column of values from several columns.
fn interleaved<'a>(
    batch: &Batch<'_>,
    cells: impl Iterator<Item = Option<(&'a Column, u32)>>,
) -> Result<ArrayRef, Fault> {
    let (mut columns, mut indices) = (Vec::new(), Vec::new());
    let mut known = HashMap::new();
    for cell in cells {
        let (column, row) = cell.ok_or(Fault::Unread)?;
        let number = *known.entry(std::ptr::from_ref(column)).or_insert_with(|| {
            columns.push(column.array.as_ref());
            columns.len() - 1
        });
        indices.push((number, batch.at(column.order, row) as usize));
    }
    Ok(interleave(&columns, &indices)?)
}

/// Why an evaluation failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// A column is asked for that nobody read: a defect of planning.
    Unread,
    Panic,
    Arrow(ArrowError),
    Engine(DataFusionError),
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl From<DataFusionError> for Fault {
    fn from(error: DataFusionError) -> Self {
        Self::Engine(error)
    }
}

impl Fault {
    /// The errors themselves may quote what a device sent.
    fn reason(&self) -> &'static str {
        let arrow = match self {
            Self::Unread => return "a value was not read",
            Self::Panic => return "an expression failed",
            Self::Arrow(error) => error,
            Self::Engine(error) => match error.find_root() {
                DataFusionError::ArrowError(error, _) => error,
                DataFusionError::ResourcesExhausted(_) => return "a value takes too much memory",
                _ => return "an expression failed",
            },
        };
        match arrow {
            ArrowError::DivideByZero => "division by zero",
            ArrowError::ArithmeticOverflow(_) => "a number is too large",
            ArrowError::CastError(_) | ArrowError::ParseError(_) => "a value cannot be converted",
            ArrowError::OffsetOverflowError(_) => "a value is too large",
            _ => "an expression failed",
        }
    }
}

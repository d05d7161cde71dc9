//! Stages run over rows.
//!
//! An expression that fails for a list of rows is tried again on its halves, down to single rows: a row fails for
//! itself alone.

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array},
    compute::take,
    error::ArrowError,
};
use datafusion_common::DataFusionError;

use super::{
    prepare::{Prepared, Source, Stage},
    reader::Batch,
};
use crate::render::{TextForm, TooLarge};

/// Rows that are evaluated at once at most.
const MAX_ROWS: usize = 16_384;
/// Bytes of payloads that are evaluated at once at most, unless a single payload is longer.
const MAX_PAYLOAD: usize = 32 << 20;

/// Rows of a batch to evaluate, not all distinct where several rules of one shape want the same row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) rows: &'a [u32],
    /// The literals of each row's rule, if rules of one shape are evaluated together.
    pub(super) parameters: Option<Parameters<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters<'a> {
    /// For each row its rule's place in the columns.
    pub(super) rules: &'a UInt32Array,
    /// For each parameter its values by rule.
    pub(super) columns: &'a [ArrayRef],
}

/// Which places of a task match, and which failed.
#[derive(Debug, Default)]
pub(super) struct Matched {
    pub(super) places: Vec<u32>,
    pub(super) failed: Vec<(u32, &'static str)>,
}

/// What was made of some places of a task.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) places: Vec<u32>,
    pub(super) rows: BinaryArray,
    /// For each action its settings, in the order of their forms.
    pub(super) settings: Vec<Vec<StringArray>>,
}

#[derive(Debug, Default)]
pub(super) struct Product {
    /// In the order of places.
    pub(super) made: Vec<Made>,
    pub(super) failed: Vec<(u32, &'static str)>,
}

/// Why an evaluation failed. The text holds nothing of a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault(pub(super) &'static str);

impl From<DataFusionError> for Fault {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ArrowError(error, _) => Self::from_arrow(error),
            DataFusionError::ResourcesExhausted(_) => Self("the row takes too much memory"),
            _ => Self("an expression failed"),
        }
    }
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        Self::from_arrow(&error)
    }
}

impl From<TooLarge> for Fault {
    fn from(_: TooLarge) -> Self {
        Self("the row is too large")
    }
}

impl Fault {
    fn from_arrow(error: &ArrowError) -> Self {
        Self(match error {
            ArrowError::DivideByZero => "division by zero",
            ArrowError::ArithmeticOverflow(_) => "a number is too large",
            ArrowError::CastError(_) | ArrowError::ParseError(_) => "a value cannot be converted",
            ArrowError::OffsetOverflowError(_) => "the row is too large",
            _ => "an expression failed",
        })
    }
}

impl Stage {
    /// The values of the expressions for each row of a task.
    pub(super) fn evaluate(&self, batch: &Batch<'_>, task: Task<'_>) -> Result<Vec<ArrayRef>, Fault> {
        let picked = batch.pick(task.rows);
        let columns = self.sources.iter().map(|source| match source {
            Source::Input(input) => picked.column(input),
            Source::Parameter(number) => {
                let values =
                    task.parameters.and_then(|Parameters { rules, columns }| Some((columns.get(*number)?, rules)));
                match values {
                    Some((values, rules)) => take(values, rules, None),
                    None => Err(ArrowError::ComputeError(format!("parameter {number} is not given"))),
                }
            }
        });
        let columns = columns.collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(task.rows.len()));
        let columns = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let values = self.expressions.iter().map(|expression| {
            let value = expression.evaluate(&columns)?;
            Ok(value.into_array(columns.num_rows())?)
        });
        values.collect()
    }
}

/// Which rows of a task match.
pub(super) fn matched(predicate: Option<&Stage>, batch: &Batch<'_>, task: Task<'_>) -> Matched {
    let all: Vec<u32> = (0..).zip(task.rows).map(|(place, _)| place).collect();
    let Some(predicate) = predicate else { return Matched { places: all, failed: Vec::new() } };
    let mut found = Vec::new();
    let failed = in_pieces(batch, task, &all, &mut |places, task| {
        let values = predicate.evaluate(batch, task)?;
        // Anything but booleans can only be NULL, which is no match.
        let Some(values) = values.first().and_then(|values| values.as_boolean_opt()) else { return Ok(()) };
        let is_true = match values.nulls() {
            Some(nulls) => values.values() & nulls.inner(),
            None => values.values().clone(),
        };
        found.extend(is_true.set_indices().filter_map(|index| places.get(index)));
        Ok(())
    });
    Matched { places: found, failed }
}

/// What a rule, or all rules of a shape, make of those places of a task that match.
pub(super) fn produce(prepared: &Prepared, batch: &Batch<'_>, task: Task<'_>, places: &[u32]) -> Product {
    let mut made = Vec::new();
    let failed = in_pieces(batch, task, places, &mut |places, task| {
        let columns = prepared.projection.evaluate(batch, task)?;
        let rows = if prepared.rows.is_passthrough() {
            batch.pick(task.rows).payload()?.as_binary().clone()
        } else {
            // Rows that are malformed or no objects were sorted out before.
            let text = |row: usize| task.rows.get(row).and_then(|row| batch.text(*row)).unwrap_or_default();
            prepared.rows.render(task.rows.len(), &columns, text)?
        };
        let settings = |forms: &Vec<TextForm>| {
            forms.iter().map(|form| form.render(task.rows.len(), &columns)).collect::<Result<Vec<_>, _>>()
        };
        let settings = prepared.actions.iter().map(settings).collect::<Result<Vec<_>, _>>()?;
        made.push(Made { places: places.to_vec(), rows, settings });
        Ok(())
    });
    Product { made, failed }
}

/// The columns of those places of a task that match and do not fail, in pieces.
pub(super) fn selected(prepared: &Prepared, batch: &Batch<'_>, task: Task<'_>, places: &[u32]) -> Vec<Vec<ArrayRef>> {
    let mut pieces = Vec::new();
    in_pieces(batch, task, places, &mut |_, task| {
        pieces.push(prepared.projection.evaluate(batch, task)?);
        Ok(())
    });
    pieces
}

/// Evaluates places of a task; it is given them and the task with nothing else.
type Attempt<'a> = dyn FnMut(&[u32], Task<'_>) -> Result<(), Fault> + 'a;

/// Runs `attempt` over `places` of a task, in order, in pieces that are small enough and that do not fail. What fails as
/// a single row is returned.
fn in_pieces(batch: &Batch<'_>, task: Task<'_>, places: &[u32], attempt: &mut Attempt<'_>) -> Vec<(u32, &'static str)> {
    let mut failed = Vec::new();
    let mut waiting = vec![places];
    while let Some(places) = waiting.pop() {
        let (first, rest) = places.split_at(fitting(batch, task, places));
        if first.is_empty() {
            continue;
        }
        waiting.push(rest);
        let Err(Fault(reason)) = task.with_part(first, |task| attempt(first, task)) else { continue };
        if let [place] = first {
            failed.push((*place, reason));
        } else {
            let (left, right) = first.split_at(first.len() / 2);
            waiting.extend([right, left]);
        }
    }
    failed
}

/// How many of `places` are evaluated at once: at least one, if there is one.
fn fitting(batch: &Batch<'_>, task: Task<'_>, places: &[u32]) -> usize {
    let mut bytes = 0;
    let fits = |place: &&u32| {
        let row = task.rows.get(**place as usize);
        bytes += row.map_or(0, |row| batch.records.payload.value_length(*row as usize) as usize);
        bytes <= MAX_PAYLOAD
    };
    let count = places.iter().take(MAX_ROWS).take_while(fits).count();
    count.max(places.len().min(1))
}

impl Task<'_> {
    /// Runs with just the given places of the task.
    fn with_part<T>(self, places: &[u32], run: impl FnOnce(Task<'_>) -> T) -> T {
        // Places are ascending, so that as many as there are rows are all of them.
        if places.len() == self.rows.len() {
            return run(self);
        }
        let part = |all: &[u32]| -> Vec<u32> {
            places.iter().map(|place| all.get(*place as usize).copied().unwrap_or_default()).collect()
        };
        let rows = part(self.rows);
        let rules = self.parameters.map(|parameters| UInt32Array::from(part(parameters.rules.values())));
        let parameters =
            self.parameters.zip(rules.as_ref()).map(|(parameters, rules)| Parameters { rules, ..parameters });
        run(Task { rows: &rows, parameters })
    }
}

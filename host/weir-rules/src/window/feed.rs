//! What windows are fed with: the messages of a batch that match, with their columns, and the ticks between them.

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    compute::cast,
    datatypes::{DataType, Float64Type, TimeUnit, TimestampMillisecondType},
};
use weir_core::schema::{Kind, Records};

use super::{EventTime, WindowPlan};
use crate::evaluate::Fed;

/// Times beyond these years are none.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// A step in the order of the log.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// A message: the row of the batch, and its place in the columns.
    Message {
        row: usize,
        place: usize,
    },
    Tick {
        row: usize,
    },
}

/// A batch as windows take it.
pub(super) struct Batch<'a> {
    pub(super) records: &'a Records,
    pub(super) columns: Vec<ArrayRef>,
    pub(super) steps: Vec<Step>,
    times: Times,
    filters: Vec<Option<BooleanArray>>,
}

enum Times {
    Accepted,
    Number(arrow::array::Float64Array),
    Time(arrow::array::TimestampMillisecondArray),
    /// The column is no time, so that no message has one.
    None,
}

impl<'a> Batch<'a> {
    pub(super) fn new(plan: &WindowPlan, records: &'a Records, fed: Fed) -> Self {
        let ticks = (0..records.len()).filter(|row| records.kind.value(*row) == Kind::Tick as u8);
        let mut steps: Vec<Step> = ticks.map(|row| Step::Tick { row }).collect();
        steps.extend(fed.rows.iter().enumerate().map(|(place, row)| Step::Message { row: *row as usize, place }));
        if steps.len() > fed.rows.len() {
            steps.sort_by_key(|step| match step {
                Step::Message { row, .. } | Step::Tick { row } => *row,
            });
        }
        let times = match plan.event_time {
            EventTime::Accepted => Times::Accepted,
            EventTime::Column(column) => fed.columns.get(column).map_or(Times::None, Times::of),
        };
        let filters = plan
            .aggregates
            .iter()
            .map(|aggregate| fed.columns.get(aggregate.filter?).and_then(|column| column.as_boolean_opt().cloned()));
        Self { records, steps, times, filters: filters.collect(), columns: fed.columns }
    }

    /// The time that a message says, in milliseconds.
    pub(super) fn time(&self, row: usize, place: usize) -> Option<i64> {
        let time = match &self.times {
            Times::Accepted => return Some(self.records.accepted_at.value(row)),
            Times::Number(numbers) if numbers.is_valid(place) => {
                let number = numbers.value(place).floor();
                // Within the years below every double is an exact integer; NaN becomes zero and is refused before.
                (number.is_finite() && number.abs() < 1e15).then_some(number as i64)?
            }
            Times::Time(times) if times.is_valid(place) => times.value(place),
            Times::Number(_) | Times::Time(_) | Times::None => return None,
        };
        YEARS.contains(&time).then_some(time)
    }

    /// Whether a message counts for an aggregate.
    pub(super) fn counts(&self, plan: &WindowPlan, aggregate: usize, place: usize) -> bool {
        match self.filters.get(aggregate) {
            Some(Some(filter)) => filter.is_valid(place) && filter.value(place),
            _ => plan.aggregates.get(aggregate).is_some_and(|aggregate| aggregate.filter.is_none()),
        }
    }
}

impl Times {
    fn of(column: &ArrayRef) -> Self {
        match column.data_type() {
            DataType::Float64 => column.as_primitive_opt::<Float64Type>().cloned().map_or(Self::None, Self::Number),
            DataType::Timestamp(..) => {
                let times = cast(column, &DataType::Timestamp(TimeUnit::Millisecond, None)).ok();
                let times = times.and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>().cloned());
                times.map_or(Self::None, Self::Time)
            }
            _ => Self::None,
        }
    }
}

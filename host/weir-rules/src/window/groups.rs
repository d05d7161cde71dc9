//! Groups and their panes: the aggregates of one stretch of time.
//!
//! An aggregate is either at work, or kept as its state, which is what is saved. It goes to work again when a message
//! comes. Messages are taken one by one: sums of doubles depend on the order and on nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::ArrayRef;
use datafusion_common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion_expr::Accumulator;
use smallvec::SmallVec;

use super::{Aggregate, Argument, WindowPlan, feed::Batch};

/// Bytes that a group takes beside its key and its aggregates, about; and a pane.
const GROUP_BYTES: usize = 128;
const PANE_BYTES: usize = 96;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: Box<[u8]>,
    /// The device whose watermark closes its windows, if one does.
    pub(super) source: u32,
    /// Ascending by start.
    pub(super) panes: SmallVec<[Pane; 1]>,
    /// Hops: where the window ends that closes next.
    pub(super) next: Option<i64>,
}

pub(super) struct Pane {
    pub(super) start: i64,
    /// Sessions: the last message and the gap behind it.
    pub(super) end: i64,
    /// Sessions: the end by which it is waited for.
    pub(super) awaited: i64,
    /// Messages in it.
    pub(super) count: u64,
    /// The most rules that one of its messages has passed through.
    pub(super) hop: u8,
    pub(super) cells: SmallVec<[Cell; 2]>,
    bytes: usize,
}

pub(super) enum Cell {
    Live(Box<dyn Accumulator>),
    /// What [`Accumulator::state`] gave.
    Kept(Vec<ScalarValue>),
}

impl Group {
    pub(super) fn bytes(&self) -> usize {
        GROUP_BYTES + self.key.len()
    }
}

impl std::fmt::Debug for Pane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pane").field("start", &self.start).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Pane {
    pub(super) fn new(plan: &WindowPlan, (start, end): (i64, i64)) -> Result<Self> {
        let cells = plan.aggregates.iter().map(|aggregate| Ok(Cell::Live(aggregate.function.create_accumulator()?)));
        let cells = cells.collect::<Result<SmallVec<_>>>()?;
        let mut pane = Self { start, end, awaited: end, count: 0, hop: 0, cells, bytes: 0 };
        pane.measure();
        Ok(pane)
    }

    /// A pane as it was saved.
    pub(super) fn kept((start, end): (i64, i64), count: u64, hop: u8, states: Vec<Vec<ScalarValue>>) -> Self {
        let cells = states.into_iter().map(Cell::Kept).collect();
        let mut pane = Self { start, end, awaited: end, count, hop, cells, bytes: 0 };
        pane.measure();
        pane
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn measure(&mut self) {
        let cell = |cell: &Cell| match cell {
            Cell::Live(accumulator) => accumulator.size(),
            Cell::Kept(state) => state.iter().map(ScalarValue::size).sum(),
        };
        self.bytes = PANE_BYTES + self.cells.iter().map(cell).sum::<usize>();
    }

    /// Takes a message. An error leaves out the aggregates from the one on that failed.
    pub(super) fn take(
        &mut self,
        plan: &WindowPlan,
        batch: &Batch<'_>,
        place: usize,
        slices: &mut Slices,
    ) -> Result<()> {
        self.count += 1;
        // What sets are made of may take long to measure, so it is measured more and more seldom.
        let measured = self.count.is_power_of_two() || self.count.is_multiple_of(256);
        let taken = catch_unwind(AssertUnwindSafe(|| {
            for (number, (cell, aggregate)) in self.cells.iter_mut().zip(&plan.aggregates).enumerate() {
                if !batch.counts(plan, number, place) {
                    continue;
                }
                let values = slices.arguments(aggregate, batch, number, place)?;
                cell.live(aggregate)?.update_batch(&values)?;
            }
            Ok(())
        }));
        if measured {
            self.measure();
        }
        taken.unwrap_or_else(|_| internal_err!("an aggregate failed"))
    }

    /// Takes all that another pane has taken.
    pub(super) fn merge(&mut self, plan: &WindowPlan, mut other: Self) -> Result<()> {
        for ((cell, aggregate), other) in self.cells.iter_mut().zip(&plan.aggregates).zip(&mut other.cells) {
            let state = other.keep()?;
            merge(cell.live(aggregate)?, state)?;
        }
        (self.start, self.end) = (self.start.min(other.start), self.end.max(other.end));
        self.awaited = self.awaited.min(other.awaited);
        self.count += other.count;
        self.hop = self.hop.max(other.hop);
        self.measure();
        Ok(())
    }

    /// The values of the aggregates.
    pub(super) fn evaluate(&mut self, plan: &WindowPlan) -> Result<Vec<ScalarValue>> {
        let cells = self.cells.iter_mut().zip(&plan.aggregates);
        guarded(|| cells.map(|(cell, aggregate)| cell.live(aggregate)?.evaluate()).collect())
    }
}

/// The aggregates of several panes together. They stay as they are.
pub(super) fn evaluate_all(plan: &WindowPlan, panes: &mut [Pane]) -> Result<Vec<ScalarValue>> {
    guarded(|| {
        let mut values = Vec::with_capacity(plan.aggregates.len());
        for (number, aggregate) in plan.aggregates.iter().enumerate() {
            let mut all = aggregate.function.create_accumulator()?;
            for pane in &mut *panes {
                if let Some(cell) = pane.cells.get_mut(number) {
                    merge(all.as_mut(), cell.keep()?)?;
                }
            }
            values.push(all.evaluate()?);
        }
        Ok(values)
    })
}

/// A panic of the engine fails one window and not the rule.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| internal_err!("an aggregate failed"))
}

impl Cell {
    fn live(&mut self, aggregate: &Aggregate) -> Result<&mut dyn Accumulator> {
        if let Self::Kept(state) = self {
            let mut accumulator = aggregate.function.create_accumulator()?;
            merge(accumulator.as_mut(), state)?;
            *self = Self::Live(accumulator);
        }
        match self {
            Self::Live(accumulator) => Ok(accumulator.as_mut()),
            Self::Kept(_) => internal_err!("an aggregate does not work"),
        }
    }

    /// The state. Taking it consumes the accumulator, so from here on the state stands for it.
    pub(super) fn keep(&mut self) -> Result<&[ScalarValue]> {
        if let Self::Live(accumulator) = self {
            *self = Self::Kept(accumulator.state()?);
        }
        match self {
            Self::Kept(state) => Ok(state),
            Self::Live(_) => internal_err!("an aggregate has no state"),
        }
    }
}

fn merge(into: &mut dyn Accumulator, state: &[ScalarValue]) -> Result<()> {
    let arrays = state.iter().map(|value| value.to_array_of_size(1));
    into.merge_batch(&arrays.collect::<Result<Vec<_>>>()?)
}

/// The arguments of one message, each column cut once.
#[derive(Default)]
pub(super) struct Slices {
    place: Option<usize>,
    cut: Vec<Option<ArrayRef>>,
    /// For each aggregate its arguments that are the same for all messages.
    literals: Vec<Vec<Option<ArrayRef>>>,
}

impl Slices {
    pub(super) fn new(plan: &WindowPlan) -> Result<Self> {
        let literal = |argument: &Argument| match argument {
            Argument::Literal(value) => Ok::<_, DataFusionError>(Some(value.to_array_of_size(1)?)),
            Argument::Column(_) => Ok(None),
        };
        let literals = plan.aggregates.iter().map(|aggregate| aggregate.arguments.iter().map(literal).collect());
        Ok(Self { literals: literals.collect::<Result<_>>()?, ..Self::default() })
    }

    fn arguments(
        &mut self,
        aggregate: &Aggregate,
        batch: &Batch<'_>,
        number: usize,
        place: usize,
    ) -> Result<SmallVec<[ArrayRef; 2]>> {
        if self.place != Some(place) {
            self.place = Some(place);
            self.cut.clear();
            self.cut.resize(batch.columns.len(), None);
        }
        let literals = self.literals.get(number);
        let mut values = SmallVec::new();
        for (index, argument) in aggregate.arguments.iter().enumerate() {
            let value = match argument {
                Argument::Literal(_) => literals.and_then(|literals| literals.get(index)).cloned().flatten(),
                Argument::Column(column) => match self.cut.get_mut(*column) {
                    Some(Some(cut)) => Some(ArrayRef::clone(cut)),
                    Some(none) => {
                        batch.columns.get(*column).map(|column| ArrayRef::clone(none.insert(column.slice(place, 1))))
                    }
                    None => None,
                },
            };
            match value {
                Some(value) => values.push(value),
                None => return internal_err!("an aggregate lacks an argument"),
            }
        }
        Ok(values)
    }
}

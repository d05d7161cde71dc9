//! Windows over a range of messages, as queries and backtests run them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion_common::Result;
use weir_core::{Offset, schema::Records, windows::WindowLimits};

use super::{AtEnd, Machine, WindowPlan};

/// Runs windows over batches in the order of the log, of messages and ticks. `take` gets the groups that closed, with the
/// columns of [`WindowPlan::schema`], and says whether it wants more; `end` is one past the last record. Returns how many
/// messages were refused because a limit was reached.
pub fn run(
    plan: Arc<WindowPlan>,
    limits: WindowLimits,
    batches: impl Iterator<Item = Result<Records>>,
    at_end: AtEnd,
    end: Offset,
    mut take: impl FnMut(RecordBatch) -> bool,
) -> Result<u64> {
    let mut machine = Machine::new(plan, limits)?;
    for records in batches {
        let closed = machine.push(&records?)?;
        if closed.groups.num_rows() > 0 && !take(closed.groups) {
            return Ok(machine.tally().refused);
        }
    }
    if at_end == AtEnd::Close {
        let closed = machine.close_all(end)?;
        if closed.groups.num_rows() > 0 {
            take(closed.groups);
        }
    }
    Ok(machine.tally().refused)
}

//! Windows: groups of messages in stretches of time.
//!
//! [`machine::Machine`] is a state machine without I/O: records go in, in the order of the log, and what closed comes out.
//! Each row is taken by itself, so nothing depends on how records come in batches; and its state can be saved between any
//! two of them. A stateless program feeds it ([`WindowPlan::feed`]), and what it makes is finished by HAVING and the
//! columns of the SELECT ([`crate::plan::Finish`]).
//!
//! **Time.** Every device has a watermark of its own: the latest time that it has said, less the lateness. A device is the
//! one that a topic names; where it names none, the topic stands for it. A time that is more than five minutes ahead of the
//! hub's is taken as that. Windows close when the watermark of their device passes their end; where a group may hold
//! several devices, when those of all do that are not idle. A device from which nothing has come for 30 seconds is idle:
//! its clock is taken to go on with the hub's, 30 seconds behind. That is looked at when a clock tick comes, a record in
//! the log like any other; nothing here reads a clock.

mod clock;
mod close;
mod feed;
mod frame;
mod groups;
mod machine;
mod rows;
mod run;
mod saved;
mod sources;
pub(crate) mod zone;

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use weir_core::{TopicFilter, windows::WindowShape};

pub(crate) use self::frame::Frame;
pub use self::{
    machine::{AtEnd, Closed, Machine},
    rows::RuleWindows,
    run::run,
};
use crate::{plan::Finish, program::Program};

/// Windows, planned.
#[derive(Debug)]
pub struct WindowPlan {
    pub(crate) shape: WindowShape,
    pub(crate) frame: Frame,
    pub(crate) event_time: EventTime,
    /// Milliseconds that a device's watermark stays behind its latest time.
    pub(crate) lateness: i64,
    /// The messages of each group are of one device, so that its windows close by that one's watermark.
    pub(crate) by_device: bool,
    /// The messages of each group are of one topic.
    pub(crate) by_topic: bool,
    /// Which messages there are, and the columns below.
    pub(crate) feed: Program,
    /// The columns to group by.
    pub(crate) keys: Vec<usize>,
    pub(crate) key_types: Vec<DataType>,
    pub(crate) aggregates: Vec<Aggregate>,
    /// Of what closes: keys, aggregates, start and end.
    pub(crate) schema: SchemaRef,
}

impl WindowPlan {
    /// The columns of [`Closed`]: the keys, the aggregates, `window_start` and `window_end`.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The topics that are read; `None` if there are several.
    pub fn source(&self) -> Option<&TopicFilter> {
        match self.feed.sources.as_slice() {
            [source] => Some(source),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum EventTime {
    /// When the hub accepted the message.
    Accepted,
    /// A column of the feed: milliseconds as a number, or a timestamp.
    Column(usize),
}

#[derive(Debug)]
pub(crate) struct Aggregate {
    pub(crate) function: Arc<AggregateFunctionExpr>,
    pub(crate) arguments: Vec<Argument>,
    /// A column of the feed that says which messages count.
    pub(crate) filter: Option<usize>,
}

#[derive(Debug, Clone)]
pub(crate) enum Argument {
    Column(usize),
    Literal(ScalarValue),
}

/// A rule with windows.
#[derive(Debug)]
pub struct WindowedRule {
    pub(crate) plan: Arc<WindowPlan>,
    pub(crate) finish: Finish,
    /// Reads the same messages for what cannot be read, if the rule has a target for that.
    pub(crate) failing: Option<Program>,
    /// Reads the messages that came too late, if the rule has a target for them.
    pub(crate) late: Option<Program>,
}

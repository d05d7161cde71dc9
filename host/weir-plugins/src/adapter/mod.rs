//! What a component is to the hub: a target.

mod batch;
mod columns;
mod sink;

pub(crate) use sink::SinkKind;

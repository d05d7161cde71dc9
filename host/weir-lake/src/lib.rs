//! History: ad-hoc queries over the messages that the hub still holds, and over its tables.
//!
//! A query is planned by the rules' own planner and read by their own extractor, so that it means what the same SQL
//! means in a rule; only execution is DataFusion's, because queries group, sort and join where rules do not yet.
//!
//! Architecture invariant: this is the one crate that links the DataFusion umbrella.

mod condition;
mod lake;
mod messages;
mod tables;
mod windows;

#[cfg(test)]
mod tests;

pub use lake::{Lake, QueryOptions};

//! History: the lake of Parquet files that sealed segments of the log become, and queries and backtests over lake, log and
//! tables together.
//!
//! A query is planned by the rules' own planner and read by their own extractor, so that it means what the same SQL
//! means in a rule; only execution is DataFusion's, because queries group, sort and join where rules do not yet. A
//! backtest runs the very evaluator of live rules.
//!
//! Architecture invariant: this is the one crate that links the DataFusion umbrella, Parquet and the object store.

mod archive;
mod backtest;
mod condition;
mod lake;
mod messages;
mod read;
mod tables;
mod windows;

#[cfg(test)]
mod tests;

pub use archive::{Archive, LakeCompression, LakeError, LakeOptions, Location, S3Location};
pub use lake::{Lake, QueryOptions};

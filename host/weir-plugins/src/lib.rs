//! The component host: runs what users compiled, bounded in time, memory and reach.
//!
//! Promises: a plugin harms nothing but its own call. One that loops, traps, hogs memory, lies about lengths or floods the
//! log is cut, and the cut is a typed [`Fault`]; the next call has a new instance. A plugin touches what a statement
//! granted, and nothing else. A version that is pushed takes over between two batches; the batch that runs finishes.
//!
//! `engine` compiles and keeps compiled code on disk; `component` says what a component is; `instance` is one that runs;
//! `adapter` makes a target or a function of it; `capability` has what it may touch, a file for each.
//!
//! Architecture invariant: only this crate knows wasmtime. It knows neither the store nor the log nor SQL.

mod adapter;
mod bindings;
mod capability;
mod component;
mod componentize;
mod engine;
mod fault;
mod host;
mod instance;
mod options;
mod signature;

#[cfg(test)]
mod tests;

pub use capability::{Resolve, Resolver, SystemResolver};
pub use componentize::{ComponentizeError, componentize};
pub use fault::{Cause, Fault};
pub use host::{PluginHost, StartError};
pub use options::{PluginOptions, PluginServices};
pub use signature::{KeyError, PublicKey, SigningKey, TrustedKey};

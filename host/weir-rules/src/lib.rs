//! Rules: SQL over messages.

mod error;
pub mod evaluate;
pub mod extract;
mod functions;
pub mod language;
pub mod plan;
pub mod program;
mod render;
mod stack;

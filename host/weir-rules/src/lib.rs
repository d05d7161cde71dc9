//! Rules: SQL over messages.
//!
//! A script becomes statements ([`language`]), a rule a [`program::Program`] ([`plan`]), and a set of programs runs over
//! batches ([`evaluate`]), reading JSON ([`extract`]). Planning happens when a rule is saved and never on the data path.

pub mod cases;
mod error;
pub mod evaluate;
pub mod extract;
mod functions;
pub mod language;
pub mod plan;
pub mod program;
mod render;
mod stack;

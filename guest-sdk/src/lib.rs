//! Plugins for Weir in Rust: sinks, compiled to WebAssembly components.
//!
//! A sink is a type that is opened with the settings of `CREATE SINK … WITH (…)` and takes rows:
//!
//! ```
//! use weir_guest::{Outcome, Rows, Sink, Verdicts, serde::Deserialize};
//!
//! #[derive(Deserialize)]
//! #[serde(crate = "weir_guest::serde", deny_unknown_fields)]
//! struct Settings {
//!     url: String,
//! }
//!
//! struct Hook(Settings);
//!
//! impl Sink for Hook {
//!     type Settings = Settings;
//!
//!     fn open(settings: Settings) -> Result<Self, String> {
//!         Ok(Self(settings))
//!     }
//!
//!     fn write(&mut self, rows: &Rows) -> Verdicts {
//!         rows.each(|row| weir_guest::http::post(&self.0.url).body(row.payload()).send().into())
//!     }
//! }
//!
//! weir_guest::export_sink!(Hook);
//! # fn main() {}
//! ```
//!
//! `cargo test` runs a plugin's tests on the machine that it is written on: [`testing`] stands for the hub. `weir plugin
//! build` makes the component.

extern crate self as weir_guest;

mod bindings;
mod column;
pub mod http;
pub mod kv;
pub mod log;
mod outcome;
mod rows;
pub mod sink;
pub mod tcp;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;

pub use column::{Column, Values};
pub use outcome::{Outcome, Verdicts};
pub use rows::{Row, Rows};
pub use sink::Sink;
pub use time::{monotonic, now, random};

pub use serde;
pub use serde_json;

#[doc(hidden)]
pub use wit_bindgen;

//! The durable log: the only hand-off of the hub.
//!
//! Promises: an offset below [`Durable::get`] names one record for ever, whatever crashes; a torn tail is cut off on
//! opening and any other damage is an error that says where; a record is never skipped and never wrong. Readers get
//! whole frames (groups of records that were written together) as Arrow batches, in offset order.
//!
//! Ignores: what messages mean. Topics are only looked at for the device they belong to, payloads are bytes.
//!
//! On disk a log is a folder of segments, files of frames, written by one thread that commits groups: while one sync
//! runs, arrivals form the next group.

mod clock;
mod disk;
mod error;
mod frame;
mod group;
mod history;
mod log;
mod options;
mod reader;
mod record;
mod recovery;
mod retention;
mod segment;
mod shared;
pub mod storage;
mod tail;
mod watermark;
mod writer;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use error::{AppendError, LogFailed, OpenError, ReadError};
pub use frame::Frame;
pub use log::{Log, LogStats};
pub use options::{LogOptions, SyncPolicy};
pub use reader::Reader;
pub use record::Record;
pub use retention::Pins;
pub use watermark::Durable;

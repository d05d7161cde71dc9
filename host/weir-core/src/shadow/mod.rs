//! Device shadows: the document that says how a device is (reported) and how it is to be (desired), and what is left to
//! do (delta). Vendor protocol §2.4.
//!
//! Pure: a request and a document go in, a document and the bytes of messages come out. The same requests in the same
//! order, each with the time at which it was accepted, make the same document and the same bytes, whenever they are
//! applied. Whoever applies them from the log relies on that.
//!
//! Absent: who may do it, where documents lie, and the topics that messages go to but for their names.

mod change;
mod document;
mod merge;
mod refusal;
mod reply;
mod request;
mod topics;

#[cfg(test)]
mod tests;

pub use change::{Change, change_message, change_of, changed_topic, may_match_changes};
pub use document::{Applied, Document, Encoded, stored_delta};
pub use refusal::Refusal;
pub use reply::{deletion, delta_push, document_value, get_reply, refusal_reply, update_reply};
pub use request::{Operation, Patch, Request, Update, update_request};
pub use topics::{ShadowTopic, result_topic};

/// Levels that an object in `reported` or `desired` may have (vendor protocol §1).
pub const MAX_DEPTH: usize = 5;

/// Bounds of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentLimits {
    /// Bytes of `reported` and `desired` as JSON, together.
    pub bytes: usize,
}

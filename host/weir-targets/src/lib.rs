//! The targets that are built in: one folder each, `config` (settings, checked), `target` (rows in, outcomes out) and
//! tests. What every target owes its caller stands in `CONTRACT.md`.
//!
//! Architecture invariant: a target knows neither SQL nor the log nor the store. It gets rows with their settings
//! resolved and says for each what became of it; pausing, retrying and dead letters are the caller's.

pub mod republish;
pub mod testkit;
pub mod webhook;

use std::sync::Arc;

use weir_core::seams::{Delivery, Publisher, TargetKind};

pub use republish::RepublishKind;
pub use webhook::{WebhookKind, WebhookOptions};

/// Every built-in kind of target.
pub fn builtin(publisher: Arc<dyn Publisher>, options: WebhookOptions) -> Vec<Arc<dyn TargetKind>> {
    vec![Arc::new(RepublishKind::new(publisher)), Arc::new(WebhookKind::new(options))]
}

/// The value of a setting for a row: the same for all, or the row's own if it holds `${…}`.
fn value<'a>(fixed: Option<&'a str>, row: &'a Delivery, name: &str) -> Option<&'a str> {
    fixed.or_else(|| row.arguments.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()))
}

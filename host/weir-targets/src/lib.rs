//! The targets that are built in: one folder each, `config` (settings, checked), `target` (rows in, outcomes out) and
//! tests. What every target owes its caller stands in `CONTRACT.md`.
//!
//! Architecture invariant: a target knows neither SQL nor the log nor the store. It gets rows with their settings
//! resolved and says for each what became of it; pausing, retrying and dead letters are the caller's.

pub mod republish;
pub mod shadow;
pub mod testkit;
pub mod webhook;

use std::sync::Arc;

use weir_core::{
    RuleName,
    seams::{BoxFuture, Delivery, Outcome, Publisher, Republish, TargetKind},
};

pub use republish::RepublishKind;
pub use shadow::ShadowKind;
pub use webhook::{WebhookKind, WebhookOptions};

/// Every built-in kind of target.
pub fn builtin(publisher: Arc<dyn Publisher>, options: WebhookOptions) -> Vec<Arc<dyn TargetKind>> {
    vec![
        Arc::new(RepublishKind::new(publisher.clone())),
        Arc::new(ShadowKind::new(publisher)),
        Arc::new(WebhookKind::new(options)),
    ]
}

/// Rules that one message may pass through.
const MAX_HOPS: u8 = 8;

/// The hop count of what a rule makes of a row, or why the row is cut off.
fn next_hop(row: &Delivery, rule: &RuleName, topic: &str) -> Result<u8, String> {
    if row.hop >= MAX_HOPS {
        return Err(format!(
            "a loop of rules: the message passed through {MAX_HOPS} of them, and {rule} would publish it to {topic:?} again"
        ));
    }
    Ok(row.hop + 1)
}

/// Publishes those rows that are messages, all at once, and says for each row what became of it: in their order.
async fn published<'a>(
    messages: Vec<Result<Republish, String>>,
    publish: impl FnOnce(Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>>,
) -> Vec<Outcome> {
    let mut good = Vec::with_capacity(messages.len());
    let mut refused = Vec::with_capacity(messages.len());
    for message in messages {
        refused.push(match message {
            Ok(message) => {
                good.push(message);
                None
            }
            Err(reason) => Some(Outcome::Rejected { reason, retry: false }),
        });
    }
    let published = if good.is_empty() { Vec::new() } else { publish(good).await };
    let mut published = published.into_iter();
    let unanswered = || Outcome::Unavailable { reason: "the hub gave no answer".to_owned(), retry_after: None };
    refused.into_iter().map(|refusal| refusal.unwrap_or_else(|| published.next().unwrap_or_else(unanswered))).collect()
}

/// The value of a setting for a row: the same for all, or the row's own if it holds `${…}`.
fn value<'a>(fixed: Option<&'a str>, row: &'a Delivery, name: &str) -> Option<&'a str> {
    fixed.or_else(|| row.arguments.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()))
}

//! Rows to messages of the hub.

use std::sync::Arc;

use weir_core::{
    Topic,
    seams::{BoxFuture, Delivery, Outcome, Publisher, Republish, Target, TargetContext},
};

use super::config::{Config, TOPIC};

/// Rules that one message may pass through.
const MAX_HOPS: u8 = 8;

pub(super) struct RepublishTarget {
    pub(super) config: Config,
    pub(super) context: TargetContext,
    pub(super) publisher: Arc<dyn Publisher>,
}

impl Target for RepublishTarget {
    /// One publish for all rows, so that they share one commit of the log.
    fn write<'a>(&'a self, rows: &'a [Delivery]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut messages = Vec::with_capacity(rows.len());
            let mut refused = Vec::with_capacity(rows.len());
            for row in rows {
                match self.message(row) {
                    Ok(message) => {
                        messages.push(message);
                        refused.push(None);
                    }
                    Err(reason) => refused.push(Some(Outcome::Rejected { reason, retry: false })),
                }
            }
            let published = match messages.is_empty() {
                true => Vec::new(),
                false => self.publisher.publish(&self.context.owner, messages).await,
            };
            let mut published = published.into_iter();
            let unanswered = || Outcome::Unavailable { reason: "the hub gave no answer".to_owned(), retry_after: None };
            refused
                .into_iter()
                .map(|refusal| refusal.unwrap_or_else(|| published.next().unwrap_or_else(unanswered)))
                .collect()
        })
    }
}

impl RepublishTarget {
    fn message(&self, row: &Delivery) -> Result<Republish, String> {
        let topic = crate::value(self.config.topic.as_deref(), row, TOPIC).ok_or("the row has no topic")?;
        Topic::check(topic).map_err(|error| format!("cannot republish to {topic:?}: {error}"))?;
        if row.hop >= MAX_HOPS {
            return Err(format!(
                "a loop of rules: the message passed through {MAX_HOPS} of them, and {} would publish it to {topic:?} again",
                self.context.rule
            ));
        }
        Ok(Republish {
            topic: topic.to_owned(),
            payload: row.payload.clone(),
            qos: self.config.qos.unwrap_or(row.qos),
            hop: row.hop + 1,
            rule: self.context.rule.clone(),
        })
    }
}

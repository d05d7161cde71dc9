//! Rows to messages of the hub.

use std::sync::Arc;

use weir_core::{
    Topic,
    seams::{BoxFuture, Delivery, Outcome, Publisher, Republish, Target, TargetContext},
};

use super::config::{Config, TOPIC};

pub(super) struct RepublishTarget {
    pub(super) config: Config,
    pub(super) context: TargetContext,
    pub(super) publisher: Arc<dyn Publisher>,
}

impl Target for RepublishTarget {
    /// One publish for all rows, so that they share one commit of the log.
    fn write<'a>(&'a self, rows: &'a [Delivery]) -> BoxFuture<'a, Vec<Outcome>> {
        let messages = rows.iter().map(|row| self.message(row)).collect();
        Box::pin(crate::published(messages, |messages| self.publisher.publish(&self.context.owner, messages)))
    }

    fn publishes_to(&self) -> Option<String> {
        self.config.topic.clone()
    }
}

impl RepublishTarget {
    fn message(&self, row: &Delivery) -> Result<Republish, String> {
        let topic = crate::value(self.config.topic.as_deref(), row, TOPIC).ok_or("the row has no topic")?;
        Topic::check(topic).map_err(|error| format!("cannot republish to {topic:?}: {error}"))?;
        let hop = crate::next_hop(row, &self.context.rule, topic)?;
        Ok(Republish {
            topic: topic.to_owned(),
            payload: row.payload.clone(),
            qos: self.config.qos.unwrap_or(row.qos),
            hop,
            rule: self.context.rule.clone(),
        })
    }
}

//! The hub as a target of its own rules: what they publish has a reserved share of the log, so that a rule that lags cannot
//! block on its own refusal. Whether the rule's owner may publish there is asked for each message, when it goes.

use std::sync::Arc;

use weir_core::{
    Envelope, Principal, Protocol, Qos,
    seams::{BoxFuture, Outcome, Publisher, Republish},
    shadow::Refusal,
};
use weir_log::{AppendError, Record};

use crate::{
    PublishError,
    ingress::Ingress,
    shadow::{Outcome as Applied, ShadowState, Wait},
};

#[derive(Debug, Clone)]
pub(crate) struct LogPublisher {
    pub(crate) ingress: Ingress,
    pub(crate) shadows: Arc<ShadowState>,
}

impl Publisher for LogPublisher {
    fn publish<'a>(&'a self, owner: &'a Principal, messages: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut outcomes: Vec<Outcome> = messages.iter().map(|message| self.check(owner, message)).collect();
            self.append(&messages, &[], &mut outcomes).await;
            outcomes
        })
    }

    fn ask_shadows<'a>(&'a self, owner: &'a Principal, requests: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut outcomes: Vec<Outcome> = requests.iter().map(|request| self.check(owner, request)).collect();
            // One for each, whether it goes or not, so that they stand side by side.
            let waits: Vec<Wait> = requests.iter().map(|_| self.shadows.wait()).collect();
            self.append(&requests, &waits, &mut outcomes).await;
            for (outcome, wait) in outcomes.iter_mut().zip(waits).filter(|(outcome, _)| **outcome == Outcome::Delivered)
            {
                // Without a limit of time: a row that is not known to be applied would be asked for again.
                *outcome = wait.applied().await.map_or_else(going_down, of_applied);
            }
            outcomes
        })
    }
}

impl LogPublisher {
    fn check(&self, owner: &Principal, message: &Republish) -> Outcome {
        let rejected = |reason: String| Outcome::Rejected { reason, retry: false };
        let (size, limit) = (message.payload.len(), self.ingress.limits.payload);
        if size > limit {
            return rejected(PublishError::TooLarge { size, limit }.to_string());
        }
        match self.ingress.policy.load().may_publish(owner, &message.topic) {
            Ok(()) => Outcome::Delivered,
            Err(denied) => rejected(denied.to_string()),
        }
    }

    /// Appends what may be published, and waits until it is durable. `waits` are of the messages, if somebody waits.
    async fn append(&self, messages: &[Republish], waits: &[Wait], outcomes: &mut [Outcome]) {
        let publishers: Vec<String> = messages.iter().map(|message| format!("rule:{}", message.rule)).collect();
        let correlations: Vec<[u8; 8]> = waits.iter().map(Wait::correlation).collect();
        let correlations = correlations.iter().map(|correlation| Some(correlation.as_slice()));
        let records: Vec<Record<'_>> = messages
            .iter()
            .zip(&publishers)
            .zip(correlations.chain(std::iter::repeat(None)))
            .zip(&*outcomes)
            .filter(|(_, outcome)| **outcome == Outcome::Delivered)
            .map(|(((message, publisher), correlation), _)| {
                let qos = Qos::from_u8(message.qos).unwrap_or_default();
                let envelope = Envelope::new(&message.topic, publisher, Protocol::Hub, qos, &message.payload);
                let (hop, origin) = (message.hop, Some(message.rule.as_str()));
                Record::Message(Envelope { hop, origin, correlation, ..envelope })
            })
            .collect();
        if records.is_empty() {
            return;
        }
        if let Err(error) = self.append_records(&records).await {
            let reason = error.to_string();
            for outcome in outcomes.iter_mut().filter(|outcome| **outcome == Outcome::Delivered) {
                *outcome = Outcome::Unavailable { reason: reason.clone(), retry_after: None };
            }
        }
    }

    /// Waits until the last of the records is durable, and so all are.
    async fn append_records(&self, records: &[Record<'_>]) -> Result<(), AppendError> {
        let log = &self.ingress.log;
        let first = log.append_reserved(records).await?;
        let last = first.plus(records.len().saturating_sub(1) as u64);
        log.durable().wait_for(last).await.map_err(|_| AppendError::Failed)?;
        for record in records {
            if let Record::Message(message) = record {
                self.ingress.metrics.accepted(message.protocol, message.qos, message.payload.len());
            }
        }
        Ok(())
    }
}

/// A row that the shadow refused may pass when the device exists, or the shadow is smaller. A version never comes back.
fn of_applied(applied: Applied) -> Outcome {
    match applied {
        Applied::Done(_) => Outcome::Delivered,
        Applied::Refused(refusal) => {
            let retry = matches!(refusal, Refusal::TooLarge { .. } | Refusal::TooMany { .. });
            Outcome::Rejected { reason: refusal.to_string(), retry }
        }
        Applied::NoDevice => Outcome::Rejected { reason: "there is no such device".to_owned(), retry: true },
    }
}

fn going_down() -> Outcome {
    Outcome::Unavailable { reason: "the hub is going down".to_owned(), retry_after: None }
}

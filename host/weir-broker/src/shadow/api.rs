//! Shadows for APIs: what is asked goes through the log like any device's request, with the caller's authority, and is
//! answered when it was applied.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use weir_core::{
    Classify, Denied, DeviceId, Envelope, ErrorKind, Offset, Principal, Protocol, Qos, ShadowName, TopicFilter,
    shadow::{Document, Refusal, ShadowTopic, result_topic, update_request},
};
use weir_log::Record;

use super::state::{Outcome, Request, Wait};
use crate::{Broker, PublishError, policy::KnownTopic};

/// Who asks for what only the hub may: [`Principal`]'s text is never this.
pub(super) const HUB: &str = "hub";

/// How long a caller waits until its request is applied.
const PATIENCE: Duration = Duration::from_secs(5);

/// A shadow as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    pub device: DeviceId,
    /// `None`: the classic one.
    pub name: Option<ShadowName>,
    pub document: Arc<Document>,
}

/// A change that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowUpdate {
    pub device: DeviceId,
    pub name: Option<ShadowName>,
    /// `reported` and `desired`, as a device sends them.
    pub state: Map<String, Value>,
    /// The version that the shadow must have; 0: any.
    pub version: u64,
    /// Whether the parts that are given replace the old ones whole.
    pub overwrite: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShadowError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is no device \"{0}\"")]
    NoDevice(DeviceId),
    #[error("device {device} has no shadow {name:?}")]
    Missing { device: DeviceId, name: ShadowName },
    /// It is in the log, so it will be applied.
    #[error("the request is accepted at offset {offset} and was not applied within {} seconds; it will be", PATIENCE.as_secs())]
    NotYet { offset: Offset },
    #[error("the hub is going down")]
    Ended,
}

impl Classify for ShadowError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied(error) => error.kind(),
            Self::Publish(error) => error.kind(),
            Self::Refused(refusal) => refusal.kind(),
            Self::NoDevice(_) | Self::Missing { .. } => ErrorKind::NotFound,
            Self::NotYet { .. } | Self::Ended => ErrorKind::Unavailable,
        }
    }
}

impl Broker {
    /// A shadow, as it is after every request that was answered before. A device that never had one has an empty one.
    pub async fn shadow(
        &self,
        principal: &Principal,
        device: &DeviceId,
        name: Option<&ShadowName>,
    ) -> Result<Shadow, ShadowError> {
        self.may_read(principal, device, name)?;
        let asked = device.clone();
        let shadows = self.shadows().ask(|answer| Request::Read(asked, answer)).await.ok_or(ShadowError::Ended)?;
        let shadows = shadows.ok_or_else(|| ShadowError::NoDevice(device.clone()))?;
        let found = shadows.into_iter().find(|(found, _)| found.as_ref() == name).map(|(_, document)| document);
        match (found, name) {
            (Some(document), _) => Ok(Shadow { device: device.clone(), name: name.cloned(), document }),
            (None, None) => Ok(Shadow { device: device.clone(), name: None, document: Arc::default() }),
            (None, Some(name)) => Err(ShadowError::Missing { device: device.clone(), name: name.clone() }),
        }
    }

    /// The shadows of a device that are not empty, or were once. The classic one comes first.
    pub async fn shadows_of(&self, principal: &Principal, device: &DeviceId) -> Result<Vec<Shadow>, ShadowError> {
        self.may_read(principal, device, None)?;
        let asked = device.clone();
        let shadows = self.shadows().ask(|answer| Request::Read(asked, answer)).await.ok_or(ShadowError::Ended)?;
        let shadows = shadows.ok_or_else(|| ShadowError::NoDevice(device.clone()))?;
        let may = |name: &Option<ShadowName>| self.may_read(principal, device, name.as_ref()).is_ok();
        let seen = shadows.into_iter().filter(|(name, _)| may(name));
        Ok(seen.map(|(name, document)| Shadow { device: device.clone(), name, document }).collect())
    }

    /// Whoever may hear of a shadow may read it.
    fn may_read(&self, principal: &Principal, device: &DeviceId, name: Option<&ShadowName>) -> Result<(), ShadowError> {
        let topic: Result<TopicFilter, _> = result_topic(device, name).parse();
        let topic = topic.map_err(PublishError::Topic)?;
        Ok(self.policy().may_subscribe(principal, &topic)?)
    }

    /// Resolves when what was answered before is stored. `None`: the hub is going down.
    pub(crate) async fn store_shadows(&self) -> Option<()> {
        self.shadows().ask(Request::Store).await
    }

    /// Changes a shadow, and returns it as it is then.
    pub async fn update_shadow(&self, principal: &Principal, update: ShadowUpdate) -> Result<Shadow, ShadowError> {
        let mut updated = self.update_shadows(principal, vec![update]).await?;
        updated.pop().unwrap_or(Err(ShadowError::Ended))
    }

    /// Asks for many changes at once: all are accepted or none is, and each is answered for itself.
    pub async fn update_shadows(
        &self,
        principal: &Principal,
        updates: Vec<ShadowUpdate>,
    ) -> Result<Vec<Result<Shadow, ShadowError>>, PublishError> {
        let requests = updates.into_iter().map(|update| {
            let payload = update_request(&update.state, update.version, update.overwrite);
            (ShadowTopic { device: update.device, name: update.name }, payload)
        });
        self.request(principal, requests.collect()).await
    }

    /// Empties a shadow. Its version goes on.
    pub async fn delete_shadow(
        &self,
        principal: &Principal,
        device: &DeviceId,
        name: Option<&ShadowName>,
        version: u64,
    ) -> Result<Shadow, ShadowError> {
        let topic = ShadowTopic { device: device.clone(), name: name.cloned() };
        self.policy().may_publish(principal, &topic.request())?;
        // Deleting one that never was would make it.
        self.shadow_exists(device, name).await?;
        let payload = json!({ "type": "delete", "version": version }).to_string();
        let mut deleted = self.request(principal, vec![(topic, payload)]).await?;
        deleted.pop().unwrap_or(Err(ShadowError::Ended))
    }

    async fn shadow_exists(&self, device: &DeviceId, name: Option<&ShadowName>) -> Result<(), ShadowError> {
        let Some(name) = name else { return Ok(()) };
        let asked = device.clone();
        let shadows = self.shadows().ask(|answer| Request::Read(asked, answer)).await.ok_or(ShadowError::Ended)?;
        let shadows = shadows.ok_or_else(|| ShadowError::NoDevice(device.clone()))?;
        if shadows.iter().any(|(found, _)| found.as_ref() == Some(name)) {
            return Ok(());
        }
        Err(ShadowError::Missing { device: device.clone(), name: name.clone() })
    }

    /// Appends requests and waits until each is applied.
    async fn request(
        &self,
        principal: &Principal,
        requests: Vec<(ShadowTopic, String)>,
    ) -> Result<Vec<Result<Shadow, ShadowError>>, PublishError> {
        let publisher = principal.to_string();
        let topics: Vec<String> = requests.iter().map(|(topic, _)| topic.request()).collect();
        let waits: Vec<Wait> = requests.iter().map(|_| self.shadows().state.wait()).collect();
        let correlations: Vec<[u8; 8]> = waits.iter().map(Wait::correlation).collect();
        let envelopes: Vec<Envelope<'_>> = requests
            .iter()
            .zip(&topics)
            .zip(&correlations)
            .map(|(((_, payload), topic), correlation)| Envelope {
                correlation: Some(correlation),
                ..Envelope::new(topic, &publisher, Protocol::Api, Qos::AtLeastOnce, payload.as_bytes())
            })
            .collect();
        let last = loop {
            match self.ingress().accept(principal, &envelopes, &mut KnownTopic::default()) {
                Err(PublishError::Busy) => self.log().ready().await,
                accepted => break accepted?,
            }
        };
        let first = last.0.saturating_sub(waits.len().saturating_sub(1) as u64);
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::with_capacity(waits.len());
        for ((topic, _), (offset, wait)) in requests.into_iter().zip((first..).map(Offset).zip(waits)) {
            answers.push(outcome_of(topic, offset, wait, deadline).await);
        }
        Ok(answers)
    }

    /// Forgets the shadows of a device that is gone, as of the log's end, so that one made by the same name later has none
    /// of them.
    pub(crate) async fn forget_shadows(&self, device: &DeviceId) {
        let wait = self.shadows().state.wait();
        let correlation = wait.correlation();
        let topic = ShadowTopic { device: device.clone(), name: None }.request();
        let envelope = Envelope::new(&topic, HUB, Protocol::Hub, Qos::AtLeastOnce, br#"{"type":"forget"}"#);
        let envelope = Envelope { correlation: Some(&correlation), ..envelope };
        match self.log().append_reserved(&[Record::Message(envelope)]).await {
            Ok(_) => {
                // If nobody tells, the hub is going down, and the next start finds the record.
                let _told = wait.outcome_within(Instant::now() + PATIENCE).await;
            }
            Err(error) => tracing::error!(%device, %error, "the shadows of a deleted device could not be forgotten"),
        }
    }
}

async fn outcome_of(topic: ShadowTopic, offset: Offset, wait: Wait, deadline: Instant) -> Result<Shadow, ShadowError> {
    let ShadowTopic { device, name } = topic;
    match wait.outcome_within(deadline).await {
        Some(Outcome::Done(document)) => Ok(Shadow { device, name, document }),
        Some(Outcome::Refused(refusal)) => Err(refusal.into()),
        Some(Outcome::NoDevice) => Err(ShadowError::NoDevice(device)),
        None => Err(ShadowError::NotYet { offset }),
    }
}

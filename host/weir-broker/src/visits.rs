//! Devices that come without a session, as by HTTP: each request is proved and paced by itself, and makes nobody online.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use tokio::time::Instant;
use weir_core::{Denied, DeviceId, Envelope, Offset, Principal, Protocol, Qos, TopicFilter, seams::AuthError};
use weir_log::{AppendError, Record};

use crate::{
    Broker, Limits, PublishError, Shadow, ShadowError, ShadowUpdate, SigningMethod, Tail, auth::enabled, pace::Pace,
    policy::KnownTopic,
};

/// Devices that are remembered before those that owe nothing are forgotten.
const REMEMBERED: usize = 1_024;

/// A request that a device has signed with its key, as the base64 text that it has of it (vendor protocol §3.2).
#[derive(Debug, Clone)]
pub struct SignedRequest {
    pub device: DeviceId,
    pub method: SigningMethod,
    /// What may have been signed: clients differ in the host name that they take themselves to speak to.
    pub texts: Vec<String>,
    pub signature: Vec<u8>,
}

/// What each device has published lately without a session. Bounded by what is taken in the time that pays for it.
#[derive(Debug, Default)]
pub(crate) struct Visitors(Mutex<Paces>);

/// Held for one look, and seldom for one at all of them.
#[derive(Debug, Default)]
struct Paces {
    by_device: HashMap<DeviceId, Pace>,
    crowded: usize,
}

impl Visitors {
    fn take(&self, device: &DeviceId, limits: &Limits, message: &Envelope<'_>) -> Result<(), PublishError> {
        if limits.device_messages.is_none() && limits.device_bytes.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        let mut paces = self.0.lock();
        let before = paces.by_device.get(device).copied().unwrap_or_default();
        let after = before.after(limits, &[*message], now).map_err(|until| PublishError::Paced { until })?;
        paces.by_device.insert(device.clone(), after);
        // At twice what the last look left, so that the looks together cost no more than what was put.
        if paces.by_device.len() > paces.crowded.max(REMEMBERED) {
            paces.by_device.retain(|_, pace| !pace.is_paid(now));
            paces.crowded = paces.by_device.len().saturating_mul(2);
        }
        Ok(())
    }
}

impl Broker {
    /// Proves a device by its signature. Refusals are counted by kind.
    pub fn verify(&self, request: &SignedRequest) -> Result<Principal, AuthError> {
        let proved = self.try_verify(request);
        if let Err(error) = &proved {
            self.metrics().refused("connect", weir_core::Classify::kind(error));
        }
        proved
    }

    fn try_verify(&self, request: &SignedRequest) -> Result<Principal, AuthError> {
        let SignedRequest { device, method, texts, signature } = request;
        let known = self.store().device(device).map_err(|_| AuthError::Unavailable)?;
        let known = known.ok_or(AuthError::BadCredentials)?;
        let key = STANDARD.encode(&known.psk);
        match texts.iter().any(|text| method.verifies(key.as_bytes(), text, signature)) {
            true => enabled(known),
            false => Err(AuthError::BadCredentials),
        }
    }

    /// Publishes one message of a device that has no session, at the pace that it may have. Answers when it is durable,
    /// or appended if its quality of service is 0.
    pub async fn publish_visiting(&self, principal: &Principal, message: Envelope<'_>) -> Result<Offset, PublishError> {
        let offset = self.append_visiting(principal, message).await?;
        self.settle(offset, message.qos).await
    }

    /// The same, answered when it is appended: whoever publishes many waits for the last.
    pub async fn append_visiting(&self, principal: &Principal, message: Envelope<'_>) -> Result<Offset, PublishError> {
        self.visit(principal, &message)?;
        loop {
            match self.ingress().accept(principal, &[message], &mut KnownTopic::default()) {
                Err(PublishError::Busy) => self.log().ready().await,
                accepted => return accepted,
            }
        }
    }

    /// Changes a shadow for a device, which pays for it as for a message of `size` bytes.
    pub async fn update_shadow_visiting(
        &self,
        principal: &Principal,
        update: ShadowUpdate,
        size: usize,
    ) -> Result<Shadow, ShadowError> {
        // What it says is not looked at, only how much it is.
        let payload = vec![0; size.min(self.limits().payload)];
        let message = Envelope::new("", "", Protocol::Http, Qos::AtLeastOnce, &payload);
        self.visit(principal, &message)?;
        self.update_shadow(principal, update).await
    }

    /// Appends what a device tells of itself, on `$log/report/PRODUCT/DEVICE`: rules read it there, and devices cannot
    /// publish to it otherwise.
    pub async fn report_log(&self, principal: &Principal, lines: &[String]) -> Result<(), PublishError> {
        let Principal::Device(device) = principal else { return Ok(()) };
        let (topic, publisher) = (format!("$log/report/{device}"), principal.to_string());
        let mut last = None;
        for line in lines {
            let (level, text) = line.split_at_checked(3).unwrap_or(("", line));
            let known = ["DBG", "INF", "WRN", "ERR"].contains(&level);
            let (level, text) = if known { (Some(level), text) } else { (None, line.as_str()) };
            let payload = serde_json::json!({ "level": level, "message": text }).to_string();
            let message = Envelope::new(&topic, &publisher, Protocol::Http, Qos::AtLeastOnce, payload.as_bytes());
            self.visit(principal, &message)?;
            let offset = loop {
                match self.log().try_append(&[Record::Message(message)]) {
                    Err(AppendError::Busy) => self.log().ready().await,
                    appended => break appended?,
                }
            };
            self.metrics().accepted(message.protocol, message.qos, message.payload.len());
            last = Some(offset);
        }
        if let Some(offset) = last {
            self.settle(offset, Qos::AtLeastOnce).await?;
        }
        Ok(())
    }

    /// Follows the messages of a filter from an offset on, or from now.
    pub fn tail_from(&self, principal: &Principal, filter: TopicFilter, from: Option<Offset>) -> Result<Tail, Denied> {
        self.policy().may_subscribe(principal, &filter)?;
        let reading = self.shadows().readers.tail(&filter);
        let from = from.map_or_else(|| self.log().appended(), |from| from.max(self.log().oldest()));
        Ok(Tail::new(self.log().reader(from), filter, reading))
    }

    /// Resolves when front-ends must end, for an answer that would go on for ever.
    pub async fn until_draining(&self) {
        self.front().token().cancelled().await;
    }

    /// Takes a message from a device's pace, and remembers that the device has been here.
    fn visit(&self, principal: &Principal, message: &Envelope<'_>) -> Result<(), PublishError> {
        let Principal::Device(device) = principal else { return Ok(()) };
        self.visitors().take(device, self.limits(), message).inspect_err(|_| {
            self.metrics().refused_for("publish", "paced");
        })?;
        let known = self.store().device(device);
        if known.is_ok_and(|known| known.is_some_and(|known| known.activated_at.is_none())) {
            self.presence().visited(device);
        }
        Ok(())
    }

    async fn settle(&self, offset: Offset, qos: Qos) -> Result<Offset, PublishError> {
        if qos > Qos::AtMostOnce {
            self.log().durable().wait_for(offset).await.map_err(|_| PublishError::Failed)?;
        }
        Ok(offset)
    }
}

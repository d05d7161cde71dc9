//! What a peer asks for, and the broker does.

use serde_json::Value;
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use weir_broker::{PublishError, Session, SessionOptions, Shadow, ShadowError, ShadowUpdate};
use weir_core::{
    Classify, DeviceId, Envelope, ErrorKind, Principal, Protocol, Qos, ShadowName, Subscription, TopicFilter,
    seams::Credentials, shadow,
};

use super::{Ending, Held, Peer, Proof, Waiting};
use crate::{
    codec::{Kind, Message, option},
    codes::{self, Code},
    endpoint::{ExchangeId, Response, is_vendors},
    request::{self, Ask, Change, JSON},
};

/// Requests about shadows that one peer may have waiting.
const WORK: usize = 8;

/// Bytes of the token that the vendor's SDK is given.
const VENDOR_TOKEN: usize = 10;

impl Peer {
    pub(super) async fn request(&mut self, exchange: ExchangeId, message: Message) -> Result<(), Ending> {
        let answered = match self.check(&message).await {
            Ok(()) => self.ask(exchange, &message).await,
            Err(refusal) => Err(refusal),
        };
        match answered {
            Ok(()) => Ok(()),
            Err(response) => {
                self.endpoint.respond(exchange, response, now());
                Ok(())
            }
        }
    }

    /// Whether it is still the device that asks: over UDP anybody can write from any address.
    async fn check(&mut self, message: &Message) -> Result<(), Response> {
        if self.link.is_encrypted() {
            let Some(shown) = message.first(option::AUTH_TOKEN) else { return Ok(()) };
            let given = self.vendor_token.as_deref().unwrap_or_default().as_bytes();
            return match !given.is_empty() && bool::from(given.ct_eq(shown)) {
                true => Ok(()),
                false => Err(Response::refusal(Code::UNAUTHORIZED, "the token is not of this session")),
            };
        }
        if request::is_discovery(message) {
            return Ok(());
        }
        let Some(shown) = request::shown(message) else {
            return Err(Response::refusal(Code::UNAUTHORIZED, "show a token of the device: ?token=TOKEN"));
        };
        let proof = Proof::of(&shown);
        if self.proof.as_ref() == Some(&proof) {
            return Ok(());
        }
        // Another token; or another device at the same address, which then is the peer.
        let principal = prove(&self.broker, &shown)?;
        if self.device != shown.device {
            self.end_observations(&Response::refusal(Code::UNAUTHORIZED, "another device is at this address"));
            if let Some(session) = self.session.take() {
                Box::pin(session.close(super::end_of(Ending::Parted))).await;
            }
            self.device = shown.device;
            self.principal = principal;
        }
        self.proof = Some(proof);
        Ok(())
    }

    async fn ask(&mut self, exchange: ExchangeId, message: &Message) -> Result<(), Response> {
        match request::read(message)? {
            Ask::Discover => Err(request::links()),
            Ask::Unsubscribe => Err(Response::of(Code::CONTENT)),
            Ask::Authenticate => Err(self.authenticate()),
            Ask::Publish { topic, content_type } => {
                Box::pin(self.publish(exchange, message, &topic, content_type)).await
            }
            Ask::Subscribe { filter, qos } => Box::pin(self.subscribe(exchange, filter, qos)).await,
            Ask::ReadShadow { device, name } => {
                let (broker, principal) = (self.broker.clone(), self.principal.clone());
                let device = device.unwrap_or_else(|| self.device.clone());
                self.work(exchange, async move {
                    told(broker.shadow(&principal, &device, name.as_ref()).await, Code::CONTENT)
                })
            }
            Ask::ChangeShadow { device, name, change, overwrite } => {
                self.change_shadow(exchange, device, name, (change, message.payload.len()), overwrite)
            }
        }
    }

    /// The handshake has proved the device; what it is given here only names the session.
    fn authenticate(&mut self) -> Response {
        let token = self.vendor_token.get_or_insert_with(|| {
            let mut bytes = [0; VENDOR_TOKEN];
            let _random = getrandom::fill(&mut bytes);
            bytes.iter().map(|byte| char::from(b'A' + byte % 26)).collect()
        });
        Response { payload: token.clone().into(), ..Response::of(Code::CONTENT) }
    }

    async fn publish(
        &mut self,
        exchange: ExchangeId,
        message: &Message,
        topic: &str,
        content_type: Option<&'static str>,
    ) -> Result<(), Response> {
        let qos = match message.kind {
            Kind::Confirmable => Qos::AtLeastOnce,
            _ => Qos::AtMostOnce,
        };
        let broker = self.broker.clone();
        let session = self.session().await?;
        let (publisher, client_id) = (session.publisher().clone(), session.client_id().clone());
        let mut envelope = Envelope::new(topic, &publisher, Protocol::Coap, qos, &message.payload);
        envelope.session = Some(&client_id);
        envelope.content_type = content_type;
        let offset = loop {
            match session.publish(&[envelope]) {
                Ok(offset) => break offset,
                Err(PublishError::Busy) => broker.log().ready().await,
                Err(error) => return Err(refusal_of_publish(&error)),
            }
        };
        let response = Response::of(if is_vendors(message) { Code::CONTENT } else { Code::CHANGED });
        if qos == Qos::AtMostOnce {
            return Err(response);
        }
        self.waiting.push_back(Waiting { offset, exchange, response });
        Ok(())
    }

    async fn subscribe(&mut self, exchange: ExchangeId, filter: TopicFilter, qos: Qos) -> Result<(), Response> {
        if !self.endpoint.may_observe() {
            return Err(Response::refusal(Code::TOO_MANY_REQUESTS, "it observes as much as it may"));
        }
        let filter = filter.into();
        let known = self.held.iter().position(|held| held.filter == filter);
        let identifier =
            known.and_then(|index| self.held.get(index)).map_or(self.next_identifier, |held| held.identifier);
        let mut subscription = Subscription::new(filter.clone(), qos);
        subscription.identifier = Some(identifier);
        let mut answers = self.session().await?.subscribe(&[subscription]).await;
        if let Some(Err(error)) = answers.pop() {
            return Err(refusal_of(&error));
        }
        let mut events = Vec::new();
        let Some(observation) = self.endpoint.observe(exchange, Response::of(Code::CONTENT), now(), &mut events) else {
            return Ok(());
        };
        match self.held.iter_mut().find(|held| held.filter == filter) {
            Some(held) => held.observations.push(observation),
            None => {
                self.next_identifier += 1;
                self.held.push(Held { filter, identifier, observations: vec![observation] });
            }
        }
        // The one before with the same token, which goes on under another name.
        for event in events {
            if let crate::endpoint::Event::Cancelled(before) = event {
                self.cancelled(before).await;
            }
        }
        Ok(())
    }

    fn change_shadow(
        &mut self,
        exchange: ExchangeId,
        device: Option<DeviceId>,
        name: Option<ShadowName>,
        (change, size): (Change, usize),
        overwrite: bool,
    ) -> Result<(), Response> {
        let device = device.unwrap_or_else(|| self.device.clone());
        let update = ShadowUpdate { device, name, state: change.state, version: change.version, overwrite };
        let (broker, principal) = (self.broker.clone(), self.principal.clone());
        self.work(exchange, async move {
            told(broker.update_shadow_visiting(&principal, update, size).await, Code::CHANGED)
        })
    }

    fn work(
        &mut self,
        exchange: ExchangeId,
        answer: impl Future<Output = Response> + Send + 'static,
    ) -> Result<(), Response> {
        if self.work.len() >= WORK {
            return Err(Response::of(Code::UNAVAILABLE).with(option::MAX_AGE, option::of_uint(1)));
        }
        self.work.push(Box::pin(async move { (exchange, answer.await) }));
        Ok(())
    }

    /// The device's session, which the first request opens.
    async fn session(&mut self) -> Result<&mut Session, Response> {
        if self.session.is_none() {
            let options = SessionOptions {
                client_id: self.device.joined(),
                protocol: Protocol::Coap,
                clean_start: true,
                expiry: 0,
                receive_maximum: 1,
                will: None,
                peer: self.identity.clone(),
            };
            let opened = self.broker.open_session(self.principal.clone(), options).await;
            let opened = opened.map_err(|error| {
                self.broker.metrics().refused("coap_session", error.kind());
                refusal_of(&error)
            })?;
            self.session = Some(Box::new(opened));
        }
        self.session.as_deref_mut().ok_or_else(|| Response::of(Code::INTERNAL))
    }
}

/// Proves by a token.
pub(crate) fn prove(broker: &weir_broker::Broker, shown: &request::Shown) -> Result<Principal, Response> {
    let credentials = Credentials {
        client_id: shown.device.joined(),
        username: Some(shown.device.to_string()),
        password: Some(shown.token.clone().into_bytes()),
        ..Credentials::default()
    };
    broker.authenticate(&credentials).map_err(|error| refusal_of(&error))
}

fn refusal_of(error: &impl Classify) -> Response {
    Response::refusal(codes::of_kind(error.kind()), &error.to_string())
}

/// A device that is too fast is told when it may go on (RFC 8516).
fn refusal_of_publish(error: &PublishError) -> Response {
    match error {
        PublishError::Paced { until } => {
            let wait = until.saturating_duration_since(Instant::now()).as_secs().max(1);
            refusal_of(error).with(option::MAX_AGE, option::of_uint(u32::try_from(wait).unwrap_or(u32::MAX)))
        }
        _ => refusal_of(error),
    }
}

fn told(outcome: Result<Shadow, ShadowError>, code: Code) -> Response {
    match outcome {
        Ok(shadow) => {
            let document: Value = shadow::document_value(&shadow.document);
            let format = option::of_uint(JSON);
            Response { payload: document.to_string().into(), ..Response::of(code) }.with(option::CONTENT_FORMAT, format)
        }
        Err(error) => {
            if error.kind() == ErrorKind::Internal {
                tracing::error!(%error, "a request about a shadow failed by a defect of the hub");
            }
            refusal_of(&error)
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

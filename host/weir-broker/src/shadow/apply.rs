//! What frames do to shadows.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::oneshot;
use weir_core::{
    Classify, DeviceId, Offset, Protocol, Qos, ShadowName, SubscriptionFilter, Timestamp,
    schema::{Kind, Records},
    shadow::{
        Document, Operation, Refusal, Request as Asked, ShadowTopic, deletion, delta_push, get_reply, refusal_reply,
        result_topic, update_reply,
    },
};
use weir_log::Frame;
use weir_store::ShadowRow;

use super::{
    AGAIN, Shadows,
    cache::Slot,
    replies::Reply,
    state::{OfDevice, Outcome, Request},
};
use crate::{
    delivery::{Change, ControlRecord},
    gateway::named,
};

/// Devices that are read from the store at once.
const LOADED_AT_ONCE: usize = 4_096;

/// Who waits for a request, and what became of it.
type Answered = (oneshot::Sender<Outcome>, Outcome);

/// A row that is about shadows.
enum Matter {
    Asked(ShadowTopic),
    /// The hub says that a device is gone.
    Forget(DeviceId),
    /// A device hears of shadows from now on: of those whose topics match; without a filter, of all.
    Listens(DeviceId, Option<SubscriptionFilter>),
}

/// A request that was done: the document as it is then, the answer if one is wanted, and what the device is told besides.
struct Done {
    document: Arc<Document>,
    reply: Option<Vec<u8>>,
    delta: Option<Vec<u8>>,
}

/// What goes with an operation.
struct Asking<'a> {
    topic: &'a ShadowTopic,
    token: Option<&'a str>,
    /// When it was accepted.
    now: Timestamp,
    /// Whether it is answered on the shadow's topic.
    answers: bool,
}

impl Matter {
    fn device(&self) -> &DeviceId {
        match self {
            Self::Asked(topic) => &topic.device,
            Self::Forget(device) | Self::Listens(device, _) => device,
        }
    }
}

impl Shadows {
    /// Applies everything in frames that follow each other that is about shadows. What is missing in memory is read from the
    /// store once for all.
    pub(super) async fn apply(&mut self, frames: &[Arc<Frame>]) {
        let matters: Vec<Vec<(usize, Matter)>> = frames.iter().map(|frame| matters(&frame.records)).collect();
        self.cache.shrink();
        self.load(matters.iter().flatten().map(|(_, matter)| matter.device())).await;
        let (mut told, mut some_gone) = (Vec::new(), false);
        for (frame, matters) in frames.iter().zip(matters) {
            // A device that is gone by an earlier frame may have been made again before this one.
            if some_gone {
                self.load(matters.iter().map(|(_, matter)| matter.device())).await;
            }
            some_gone |= matters.iter().any(|(_, matter)| matches!(matter, Matter::Forget(_)));
            self.apply_frame(&frame.records, matters, &mut told);
        }
        self.replies.append(&self.log, &self.metrics).await;
        for (wait, outcome) in told {
            // Whoever stopped waiting needs no answer.
            let _unheard = wait.send(outcome);
        }
        if let Some(last) = frames.last() {
            self.position = last.next;
            self.state.set_applied(last.next);
        }
    }

    fn apply_frame(&mut self, records: &Records, matters: Vec<(usize, Matter)>, told: &mut Vec<Answered>) {
        for row in (0..records.len()).filter(|row| !records.is_message(*row)) {
            self.note_subscription(records, row);
        }
        for (row, matter) in matters {
            match matter {
                Matter::Asked(topic) => self.answer(records, row, &topic, told),
                Matter::Forget(device) => {
                    self.cache.forget(&device);
                    let waits = self.state.take(records.envelope(row).correlation);
                    told.extend(waits.map(|wait| (wait, Outcome::Done(Arc::default()))));
                }
                Matter::Listens(device, filter) => self.remind(&device, filter.as_ref(), records.accepted_at(row)),
            }
        }
    }

    pub(super) async fn serve(&mut self, request: Request) {
        let (device, answer) = match request {
            Request::Read(device, answer) => (device, answer),
            Request::Store(answer) => return self.tell_when_stored(answer),
        };
        self.cache.shrink();
        self.load(std::iter::once(&device)).await;
        let found = self
            .cache
            .get(&device)
            .map(|slot| slot.iter().map(|(name, document)| (name.clone(), Arc::clone(document))).collect::<OfDevice>());
        let _unheard = answer.send(found);
    }

    /// Sees to it that the shadows of these devices are in memory, those of devices that exist.
    async fn load(&mut self, devices: impl Iterator<Item = &DeviceId>) {
        let missing: BTreeSet<&DeviceId> = devices.filter(|device| !self.cache.touch(device)).collect();
        let missing: Vec<DeviceId> = missing.into_iter().cloned().collect();
        for devices in missing.chunks(LOADED_AT_ONCE) {
            let found = loop {
                match self.store.shadows_of(devices.to_vec()).await {
                    Ok(found) => break found,
                    Err(error) => {
                        tracing::error!(%error, "shadows cannot be read; it is tried again");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            };
            for (device, rows) in devices.iter().zip(found) {
                let Some(rows) = rows else { continue };
                let is_old = self.cache.is_forgotten(device);
                let shadows = rows.into_iter().filter(|_| !is_old).filter_map(decode);
                self.cache.insert(device.clone(), Slot::of(shadows.collect()));
            }
        }
    }

    fn answer(&mut self, records: &Records, row: usize, topic: &ShadowTopic, told: &mut Vec<Answered>) {
        let (now, envelope, name) = (records.accepted_at(row), records.envelope(row), topic.name.as_ref());
        let wait = match envelope.protocol {
            Protocol::Api | Protocol::Hub => self.state.take(envelope.correlation),
            _ => None,
        };
        // A caller is answered by itself, and so is a rule's action.
        let answers = envelope.protocol != Protocol::Hub && !is_callers(&envelope);
        let Some(slot) = self.cache.get(&topic.device) else {
            self.metrics.refused_for("shadow", "no_device");
            told.extend(wait.map(|wait| (wait, Outcome::NoDevice)));
            return;
        };
        let found = slot.get(name);
        let is_new = found.is_none();
        let named = slot.iter().filter(|(name, _)| name.is_some()).count();
        let document = found.cloned().unwrap_or_default();
        let request = Asked::read(envelope.payload);
        let changes = !matches!(request.operation, Ok(Operation::Get));
        let operation = match request.operation {
            Ok(_) if changes && is_new && name.is_some() && named >= self.max_names => {
                Err(Refusal::TooMany { limit: self.max_names })
            }
            operation => operation,
        };
        let token = request.token.as_deref();
        let asked = Asking { topic, token, now, answers };
        let done = operation.and_then(|operation| {
            let done = self.perform(&operation, &document, &asked)?;
            Ok((operation, done))
        });
        let (reply, delta, outcome, made) = match done {
            Ok((operation, Done { document: after, reply, delta })) => {
                (reply, delta, Outcome::Done(Arc::clone(&after)), Some((operation, after)))
            }
            Err(refusal) => {
                self.metrics.refused("shadow", refusal.kind());
                let reply = answers.then(|| refusal_reply(request.kind, &refusal, &document, token, now));
                (reply, None, Outcome::Refused(refusal), None)
            }
        };
        if let Some(reply) = reply {
            self.say(topic, reply, envelope.qos.min(Qos::AtLeastOnce), envelope.hop);
        }
        if let Some(delta) = delta {
            self.say(topic, delta, Qos::AtLeastOnce, envelope.hop);
        }
        if let Some((operation, after)) = made {
            let offset = Offset(records.offset.value(row));
            self.tell_change(topic, &envelope, offset, (&operation, &document, &after));
        }
        told.extend(wait.map(|wait| (wait, outcome)));
    }

    /// Does what was asked.
    fn perform(
        &mut self,
        operation: &Operation,
        document: &Arc<Document>,
        &Asking { topic, token, now, answers }: &Asking<'_>,
    ) -> Result<Done, Refusal> {
        let done = match operation {
            Operation::Get => {
                let reply = answers.then(|| get_reply(document, token, now));
                return Ok(Done { document: Arc::clone(document), reply, delta: None });
            }
            Operation::Update(update) => {
                let applied = document.apply(update, self.limits, now)?;
                let reply = answers.then(|| update_reply(update, &applied, token, now));
                let delta = if applied.news_for_device { delta_push(&applied.document, now) } else { None };
                Done { document: Arc::new(applied.document), reply, delta }
            }
            Operation::Delete { version } => {
                let deleted = document.delete(*version, now)?;
                let reply = answers.then(|| deletion(&deleted, token, now));
                Done { document: Arc::new(deleted), reply, delta: None }
            }
        };
        self.cache.set(&topic.device, topic.name.as_ref(), Arc::clone(&done.document));
        self.metrics.shadow_changed();
        Ok(done)
    }

    /// Tells a device what is left to do.
    fn remind(&mut self, device: &DeviceId, filter: Option<&SubscriptionFilter>, now: Timestamp) {
        let Some(slot) = self.cache.get(device) else { return };
        let hears = |name: &Option<ShadowName>| {
            filter.is_none_or(|filter| filter.filter().matches(&result_topic(device, name.as_ref())))
        };
        let news: Vec<(Option<ShadowName>, Vec<u8>)> = slot
            .iter()
            .filter(|(name, document)| !document.desired().is_empty() && hears(name))
            .filter_map(|(name, document)| Some((name.clone(), delta_push(document, now)?)))
            .collect();
        for (name, delta) in news {
            self.say(&ShadowTopic { device: device.clone(), name }, delta, Qos::AtLeastOnce, 0);
        }
    }

    fn say(&mut self, shadow: &ShadowTopic, payload: Vec<u8>, qos: Qos, hop: u8) {
        let topic = result_topic(&shadow.device, shadow.name.as_ref());
        self.replies.push(Reply { topic, payload, qos, hop });
    }
}

fn matters(records: &Records) -> Vec<(usize, Matter)> {
    (0..records.len()).filter_map(|row| Some((row, matter(records, row)?))).collect()
}

/// What a row has to do with shadows. Most have nothing, which the first bytes of their topic say.
fn matter(records: &Records, row: usize) -> Option<Matter> {
    let topic = records.topic.value(row);
    if records.is_message(row) {
        let topic = topic.starts_with("$shadow/").then(|| ShadowTopic::of_request(topic)).flatten()?;
        let is_forgotten = records.publisher.value(row) == super::api::HUB;
        return Some(if is_forgotten { Matter::Forget(topic.device) } else { Matter::Asked(topic) });
    }
    match Kind::from_u8(records.kind.value(row))? {
        // What it missed while it was away, of a session that is kept, whose subscriptions are there already.
        Kind::SessionOpened => {}
        Kind::Subscribed if topic.starts_with("$shadow/") => {}
        _ => return None,
    }
    let (key, change) = ControlRecord::read(records, row)?;
    match change {
        Change::Opened(opened) if !opened.clean => Some(Matter::Listens(key.device()?, None)),
        Change::Subscribed { subscription, .. } => {
            let subscriber = key.device()?;
            // A gateway subscribes for devices that are online through it.
            let device = named(&subscription.filter).unwrap_or(subscriber);
            Some(Matter::Listens(device, Some(subscription.filter)))
        }
        _ => None,
    }
}

/// Whether the request was sent by someone who waited for it, in this process or an earlier one.
fn is_callers(envelope: &weir_core::Envelope<'_>) -> bool {
    envelope.protocol == Protocol::Api && envelope.correlation.is_some()
}

fn decode(row: ShadowRow) -> Option<(Option<ShadowName>, Arc<Document>)> {
    let document = Document::decode(&row.document, row.version, row.changed_at);
    if document.is_none() {
        tracing::error!(device = %row.device, name = ?row.name, "a stored shadow cannot be read; it is left out");
    }
    Some((row.name, Arc::new(document?)))
}

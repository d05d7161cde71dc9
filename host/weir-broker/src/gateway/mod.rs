//! Gateways: devices that act for others, which are bound to them and online through them (vendor protocol §2.4).
//!
//! A gateway asks by messages on `$gateway/operation/PRODUCT/DEVICE`, which this task reads from the log. What is bound to
//! whom is in the store before it is answered. What is online lives in memory, with the gateway's connection: while it
//! is, that connection has the rights of the device, by [`weir_core::Policy`]. With the connection, with `offline`, and
//! when the device is unbound, disabled, deleted or connects by itself, those rights end at once, and so do the
//! subscriptions that rest on them.

mod message;
mod online;
mod signature;

use std::{collections::BTreeMap, sync::Arc};

use weir_core::{DeviceId, Envelope, Principal, Protocol, Qos, SubscriptionFilter, Timestamp, Topic};
use weir_log::{Frame, ReadError, Reader, Record};
use weir_store::{BindLimits, Bound, NewBinding, StoreError, UsedSignature};

use self::message::{Asked, Code, Operation, Request, description};
pub(crate) use self::online::{SubDevices, Through};
use crate::{
    Broker, Drain, Limits,
    delivery::{Change, Request as Question},
    presence::Reason,
    session::SessionKey,
};

const REQUESTS: &str = "$gateway/operation/";

/// Control records in one append.
const AT_ONCE: usize = 512;

/// The task that answers gateways. Like the other services, it reads the log from the start of the process on: who was
/// not answered before asks again.
pub(crate) struct Gateways {
    broker: Broker,
    reader: Reader,
}

impl Gateways {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { reader: broker.log().reader(broker.log().appended()), broker }
    }

    /// Runs until it is told to end, which is after every connection has ended.
    pub(crate) async fn run(mut self, drain: Drain) {
        let sub_devices = self.broker.sub_devices().clone();
        loop {
            tokio::select! {
                biased;
                () = sub_devices.some_left() => self.broker.end_lent(sub_devices.take_left()).await,
                () = drain.token().cancelled() => break,
                frame = self.reader.next_durable() => match frame {
                    Ok(frame) => self.serve(&frame).await,
                    // What is gone was asked long ago.
                    Err(ReadError::Overtaken { .. }) => {}
                    Err(ReadError::Stopped) => break,
                    Err(error) => {
                        tracing::error!(%error, "gateways cannot be answered: the log cannot be read");
                        break;
                    }
                },
            }
        }
        self.broker.end_lent(sub_devices.take_left()).await;
    }

    async fn serve(&self, frame: &Arc<Frame>) {
        let records = &frame.records;
        for row in 0..records.len() {
            let topic = records.topic.value(row);
            if !topic.starts_with(REQUESTS) || !records.is_message(row) {
                continue;
            }
            let Some(gateway) = topic.strip_prefix(REQUESTS).and_then(|gateway| gateway.parse::<DeviceId>().ok())
            else {
                continue;
            };
            // Nobody asks for a gateway but itself: programs have an API.
            if records.publisher.value(row) != Principal::Device(gateway.clone()).to_string() {
                self.broker.metrics().refused_for("gateway", "not_the_gateway");
                continue;
            }
            match Request::read(records.payload.value(row)) {
                Some(request) => {
                    // Where there is no answer, the gateway asks again.
                    if let Some(answer) = self.perform(&gateway, &request, records.accepted_at(row)).await {
                        self.answer(&gateway, &answer, records.qos(row).min(Qos::AtLeastOnce)).await;
                    }
                }
                None => self.broker.metrics().refused_for("gateway", "malformed_request"),
            }
        }
    }

    async fn answer(&self, gateway: &DeviceId, payload: &[u8], qos: Qos) {
        let topic = format!("{REQUESTS}result/{gateway}");
        let message = Envelope::new(&topic, "hub", Protocol::Hub, qos, payload);
        match self.broker.log().append_reserved(&[Record::Message(message)]).await {
            Ok(_) => self.broker.metrics().accepted(Protocol::Hub, qos, payload.len()),
            Err(error) => {
                tracing::warn!(%gateway, %error, "a gateway was not answered");
                self.broker.metrics().refused_for("gateway_answer", "log_full");
            }
        }
    }

    async fn perform(&self, gateway: &DeviceId, request: &Request, now: Timestamp) -> Option<Vec<u8>> {
        let devices = &request.devices;
        let codes = match request.operation {
            Operation::Describe => return self.describe(gateway).await,
            _ if devices.len() > self.broker.limits().gateway_devices => vec![Code::BadParameter; devices.len()],
            Operation::Bind => self.bind(gateway, devices, now).await,
            Operation::Unbind => self.unbind(gateway, devices).await,
            Operation::Online => self.online(gateway, devices).await,
            Operation::Offline => self.offline(gateway, devices).await,
        };
        for code in codes.iter().filter(|code| **code != Code::Done) {
            self.broker.metrics().refused_for("gateway", code.reason());
        }
        Some(request.answer(&codes))
    }

    async fn describe(&self, gateway: &DeviceId) -> Option<Vec<u8>> {
        // How many there are was bounded when they were bound.
        match self.broker.store().bindings(gateway, None, 0, u32::MAX).await {
            Ok((bound, _)) => Some(description(&bound.into_iter().map(|bound| bound.device).collect::<Vec<_>>())),
            Err(error) => {
                of_error(gateway, &error);
                self.broker.metrics().refused_for("gateway", Code::Failed.reason());
                None
            }
        }
    }

    async fn bind(&self, gateway: &DeviceId, asked: &[Asked], now: Timestamp) -> Vec<Code> {
        let mut codes: Vec<Result<NewBinding, Code>> = asked.iter().map(|asked| self.signed(asked, now)).collect();
        let new: Vec<NewBinding> = codes.iter().flatten().cloned().collect();
        let limits = bind_limits(self.broker.limits(), now);
        let outcomes = match self.broker.store().bind(gateway, new, false, limits, now).await {
            Ok(outcomes) => outcomes.into_iter().map(of_outcome).collect(),
            Err(error) => vec![of_error(gateway, &error); codes.len()],
        };
        let mut outcomes = outcomes.into_iter();
        codes.drain(..).map(|code| code.err().or_else(|| outcomes.next()).unwrap_or(Code::Failed)).collect()
    }

    /// The device, if it has signed.
    fn signed(&self, asked: &Asked, now: Timestamp) -> Result<NewBinding, Code> {
        let id = asked.device().ok_or(Code::NoDevice)?;
        let device = self.broker.store().device(&id).map_err(|error| of_error(&id, &error))?;
        let device = device.ok_or(Code::NoDevice)?;
        let window = self.broker.limits().bind_signature_age;
        let signature: UsedSignature = signature::check(&id, &device.psk, asked, now, window)?;
        if !device.may_connect() {
            return Err(Code::NotAllowed);
        }
        Ok(NewBinding { device: id, signature: Some(signature) })
    }

    async fn unbind(&self, gateway: &DeviceId, asked: &[Asked]) -> Vec<Code> {
        let named: Vec<Option<DeviceId>> = asked.iter().map(Asked::device).collect();
        let devices: Vec<DeviceId> = named.iter().flatten().cloned().collect();
        let unbound = match self.broker.unbind(gateway, devices, Reason::Disconnected).await {
            Ok(unbound) => unbound.into_iter().map(|was| if was { Code::Done } else { Code::NotBound }).collect(),
            Err(error) => vec![of_error(gateway, &error); named.len()],
        };
        let mut unbound = unbound.into_iter();
        let code = |device: &Option<DeviceId>| match device {
            Some(_) => unbound.next().unwrap_or(Code::Failed),
            None => Code::NoDevice,
        };
        named.iter().map(code).collect()
    }

    async fn online(&self, gateway: &DeviceId, asked: &[Asked]) -> Vec<Code> {
        let (mut codes, mut displaced) = (Vec::with_capacity(asked.len()), Vec::new());
        for asked in asked {
            let outcome = match asked.device() {
                Some(device) => self.bring_online(gateway, device, &mut displaced),
                None => Err(Code::NoDevice),
            };
            codes.push(outcome.err().unwrap_or(Code::Done));
        }
        self.broker.end_lent(displaced).await;
        codes
    }

    fn bring_online(
        &self,
        gateway: &DeviceId,
        device: DeviceId,
        displaced: &mut Vec<(DeviceId, Through)>,
    ) -> Result<(), Code> {
        self.may_be_online(gateway, &device)?;
        let (connections, presence) = (self.broker.connections(), self.broker.presence());
        let before = connections.bring_online(gateway, &device, self.broker.clock().now(), presence);
        displaced.extend(before.map_err(|_| Code::Failed)?.map(|through| (device.clone(), through)));
        // Whoever unbinds or disables a device puts out the one there is; one that came meanwhile is looked at again.
        self.may_be_online(gateway, &device).inspect_err(|_| {
            let is_its = |through: &Through| through.gateway == *gateway;
            let through = connections.take_offline(&device, is_its, Reason::Ended, presence);
            displaced.extend(through.map(|through| (device.clone(), through)));
        })
    }

    fn may_be_online(&self, gateway: &DeviceId, device: &DeviceId) -> Result<(), Code> {
        match self.broker.store().binding(device) {
            Ok(Some(binding)) if binding.gateway == *gateway && binding.may_connect => Ok(()),
            Ok(Some(binding)) if binding.gateway == *gateway => Err(Code::NotAllowed),
            Ok(_) => Err(Code::NotBound),
            Err(error) => Err(of_error(device, &error)),
        }
    }

    async fn offline(&self, gateway: &DeviceId, asked: &[Asked]) -> Vec<Code> {
        let (mut codes, mut left) = (Vec::with_capacity(asked.len()), Vec::new());
        for asked in asked {
            let Some(device) = asked.device() else {
                codes.push(Code::NoDevice);
                continue;
            };
            codes.push(match self.broker.store().binding(&device) {
                Ok(Some(binding)) if binding.gateway == *gateway => Code::Done,
                Ok(_) => Code::NotBound,
                Err(error) => of_error(&device, &error),
            });
            let is_its = |through: &Through| through.gateway == *gateway;
            let presence = self.broker.presence();
            let through = self.broker.connections().take_offline(&device, is_its, Reason::Disconnected, presence);
            left.extend(through.map(|through| (device, through)));
        }
        self.broker.end_lent(left).await;
        codes
    }
}

impl Code {
    fn reason(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotBound => "not_bound",
            Self::Failed => "failed",
            Self::BadParameter => "bad_parameter",
            Self::NoDevice => "no_device",
            Self::BadSignature => "bad_signature",
            Self::Method => "method",
            Self::Expired => "expired",
            Self::BoundElsewhere => "bound_elsewhere",
            Self::NotSubDevice => "not_a_sub_device",
            Self::NotAllowed => "not_allowed",
            Self::Already => "already_bound",
        }
    }
}

fn of_outcome(outcome: Bound) -> Code {
    match outcome {
        Bound::Done => Code::Done,
        Bound::Already => Code::Already,
        Bound::Elsewhere => Code::BoundElsewhere,
        Bound::NoDevice => Code::NoDevice,
        Bound::NoSubDevice => Code::NotSubDevice,
        Bound::Used => Code::Expired,
        Bound::Full | Bound::TooManyProducts => Code::NotAllowed,
    }
}

fn of_error(of: &DeviceId, error: &StoreError) -> Code {
    if matches!(error, StoreError::NotGateway(_)) {
        return Code::NotAllowed;
    }
    tracing::error!(device = %of, %error, "a request of a gateway failed");
    Code::Failed
}

pub(crate) fn bind_limits(limits: &Limits, now: Timestamp) -> BindLimits {
    let age = i64::try_from(limits.bind_signature_age.as_secs()).unwrap_or(i64::MAX);
    BindLimits {
        devices: limits.sub_devices as u64,
        products: limits.sub_products as u64,
        signatures_from: now.seconds().saturating_sub(age),
    }
}

impl Broker {
    /// Unbinds devices from a gateway, and puts out those that are online through it. Says for each whether it was bound.
    pub(crate) async fn unbind(
        &self,
        gateway: &DeviceId,
        devices: Vec<DeviceId>,
        reason: Reason,
    ) -> Result<Vec<bool>, StoreError> {
        let unbound = self.store().unbind(gateway, devices.clone()).await?;
        let mut left = Vec::new();
        for device in devices {
            let is_its = |through: &Through| through.gateway == *gateway;
            let through = self.connections().take_offline(&device, is_its, reason, self.presence());
            left.extend(through.map(|through| (device, through)));
        }
        self.end_lent(left).await;
        Ok(unbound)
    }

    /// Puts out devices that are online through gateways, those that `which` means: they, or their gateways, may not
    /// connect any more.
    pub(crate) async fn put_offline(&self, which: impl Fn(&DeviceId, &Through) -> bool) {
        let mut left = Vec::new();
        for device in self.sub_devices().those(&which) {
            let still = |through: &Through| which(&device, through);
            let through = self.connections().take_offline(&device, still, Reason::Ended, self.presence());
            left.extend(through.map(|through| (device, through)));
        }
        self.end_lent(left).await;
    }

    /// Ends what gateways subscribed to for devices that are not online through them any more. A connection that came
    /// later is not meant: if the device is online through that, it is so by right.
    pub(crate) async fn end_lent(&self, left: Vec<(DeviceId, Through)>) {
        let mut by_connection: BTreeMap<(DeviceId, u64), Vec<DeviceId>> = BTreeMap::new();
        for (device, Through { gateway, connection, .. }) in left {
            by_connection.entry((gateway, connection)).or_default().push(device);
        }
        for ((gateway, connection), mut devices) in by_connection {
            devices.sort_unstable();
            let key = SessionKey::of_device(&gateway);
            let asked = key.clone();
            let described = self.delivery().ask(|answer| Question::Describe(asked, answer)).await;
            let held = described.flatten().map(|described| described.subscriptions).unwrap_or_default();
            let is_lent = |filter: &SubscriptionFilter| {
                named(filter).is_some_and(|device| devices.binary_search(&device).is_ok())
            };
            let connection = Some(connection);
            let lent = held.into_iter().filter(is_lent);
            let changes = lent.map(|filter| (key.clone(), Change::Unsubscribed { connection, filter })).collect();
            self.write_all(changes).await;
        }
    }

    /// Ends what gateways subscribed to for other devices before this process began: none is online through any.
    pub(crate) async fn end_what_was_lent(&self) {
        let held = self.delivery().ask(Question::Subscriptions).await.unwrap_or_default();
        let lent = held.into_iter().filter(|(key, filter)| {
            key.device().is_some_and(|subscriber| named(filter).is_some_and(|device| device != subscriber))
        });
        let changes = lent.map(|(key, filter)| (key, Change::Unsubscribed { connection: None, filter })).collect();
        self.write_all(changes).await;
    }

    async fn write_all(&self, changes: Vec<(SessionKey, Change)>) {
        for changes in changes.chunks(AT_ONCE) {
            self.write(changes).await;
        }
    }
}

/// The device whose topics a subscription is for.
pub(crate) fn named(filter: &SubscriptionFilter) -> Option<DeviceId> {
    let (product, device) = Topic::device_of(filter.filter().as_str())?;
    Some(DeviceId { product: product.parse().ok()?, device: device.parse().ok()? })
}

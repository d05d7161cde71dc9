//! Calls to devices (vendor protocol §2.4, RRPC): a message on `$rrpc/rxd/PRODUCT/DEVICE/ID`, and the device's answer on
//! `$rrpc/txd/PRODUCT/DEVICE/ID`.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_core::{Classify, Denied, DeviceId, Envelope, ErrorKind, Principal, Protocol, Qos};
use weir_store::StoreError;

use crate::{Broker, PublishError, delivery::Request, policy::KnownTopic, session::SessionKey};

/// The longest time that a caller may wait.
const LONGEST: Duration = Duration::from_secs(30);

/// What a device has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallAnswer {
    /// The last level of both topics.
    pub id: u64,
    pub payload: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no device \"{0}\"")]
    NoDevice(DeviceId),
    #[error("device {0} is offline")]
    Offline(DeviceId),
    #[error("device {0} does not listen for calls: it must subscribe to $rrpc/rxd/{0}/+")]
    NotSubscribed(DeviceId),
    #[error("device {device} did not answer call {id} within {} ms", timeout.as_millis())]
    TimedOut { device: DeviceId, id: u64, timeout: Duration },
    #[error("a call may wait for 1 ms to {} seconds", LONGEST.as_secs())]
    Timeout,
    #[error("{limit} calls wait for their devices, as many as may be; try again, or raise limits.calls")]
    TooMany { limit: usize },
    #[error("the hub is going down")]
    Ended,
}

impl Classify for CallError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied(error) => error.kind(),
            Self::Publish(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::NoDevice(_) => ErrorKind::NotFound,
            Self::NotSubscribed(_) => ErrorKind::Conflict,
            Self::Timeout => ErrorKind::Invalid,
            Self::TooMany { .. } => ErrorKind::Throttled,
            Self::Offline(_) | Self::TimedOut { .. } | Self::Ended => ErrorKind::Unavailable,
        }
    }
}

/// Calls that wait for an answer. Guards a map for one lookup.
#[derive(Debug)]
pub(crate) struct Calls {
    waiting: Mutex<HashMap<u64, (DeviceId, oneshot::Sender<Bytes>)>>,
    next: AtomicU64,
    limit: usize,
}

/// A call that waits. Dropping it ends the wait.
struct Call<'a> {
    calls: &'a Calls,
    id: u64,
    answer: oneshot::Receiver<Bytes>,
}

impl Calls {
    /// Ids go on from one process to the next, `epoch` being that of the log, and are whole numbers in JSON: an answer that
    /// comes late is not taken for another call's.
    pub(crate) fn new(epoch: u32, limit: usize) -> Self {
        Self { waiting: Mutex::default(), next: AtomicU64::new(u64::from(epoch) << 28), limit }
    }

    fn begin(&self, device: &DeviceId) -> Result<Call<'_>, CallError> {
        let (tell, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= self.limit {
            return Err(CallError::TooMany { limit: self.limit });
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        waiting.insert(id, (device.clone(), tell));
        drop(waiting);
        Ok(Call { calls: self, id, answer })
    }

    /// A device has answered on `$rrpc/txd/` and this.
    pub(super) fn answered(&self, device_and_id: &str, payload: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            return;
        }
        let Some((device, id)) = device_and_id.rsplit_once('/') else { return };
        let (Ok(device), Ok(id)) = (device.parse::<DeviceId>(), id.parse::<u64>()) else { return };
        if waiting.get(&id).is_some_and(|(called, _)| *called == device)
            && let Some((_, tell)) = waiting.remove(&id)
        {
            // Nobody waits any more, perhaps.
            let _unheard = tell.send(Bytes::copy_from_slice(payload));
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.calls.waiting.lock().remove(&self.id);
    }
}

impl Broker {
    /// Sends a device something and waits for its answer. The first answer counts.
    pub async fn call(
        &self,
        principal: &Principal,
        device: &DeviceId,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<CallAnswer, CallError> {
        if timeout.is_zero() || timeout > LONGEST {
            return Err(CallError::Timeout);
        }
        let mut call = self.calls().begin(device)?;
        let topic = format!("$rrpc/rxd/{device}/{}", call.id);
        self.policy().may_publish(principal, &topic)?;
        self.listens(device, &topic).await?;
        let publisher = principal.to_string();
        let envelope = Envelope {
            // Nobody waits for an answer later.
            expiry: u32::try_from(timeout.as_millis().div_ceil(1_000)).ok(),
            ..Envelope::new(&topic, &publisher, Protocol::Api, Qos::AtLeastOnce, payload)
        };
        let answered = async {
            while let Err(error) = self.ingress().accept(principal, &[envelope], &mut KnownTopic::default()) {
                match error {
                    PublishError::Busy => self.log().ready().await,
                    error => return Err(error.into()),
                }
            }
            (&mut call.answer).await.map_err(|_| CallError::Ended)
        };
        match tokio::time::timeout(timeout, answered).await {
            Ok(answer) => Ok(CallAnswer { id: call.id, payload: answer? }),
            Err(_) => Err(CallError::TimedOut { device: device.clone(), id: call.id, timeout }),
        }
    }

    /// Whether a device is there and hears of messages on `topic`.
    async fn listens(&self, device: &DeviceId, topic: &str) -> Result<(), CallError> {
        if self.store().device(device)?.is_none() {
            return Err(CallError::NoDevice(device.clone()));
        }
        // A device that is online through its gateway hears by it.
        let through = self.sub_devices().through(device);
        let key = SessionKey::of_device(through.as_ref().map_or(device, |through| &through.gateway));
        if self.connections().about(&key).is_none() {
            return Err(CallError::Offline(device.clone()));
        }
        let described = self.delivery().ask(|answer| Request::Describe(key, answer)).await.ok_or(CallError::Ended)?;
        let subscriptions = described.map(|described| described.subscriptions).unwrap_or_default();
        if subscriptions.iter().any(|filter| filter.filter().matches(topic)) {
            return Ok(());
        }
        Err(CallError::NotSubscribed(device.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_its_call_alone() {
        let calls = Calls::new(3, 2);
        let device: DeviceId = "A1B2C3D4E5/a".parse().unwrap();
        let (mut one, mut two) = (calls.begin(&device).unwrap(), calls.begin(&device).unwrap());
        assert_eq!(one.id, 3 << 28);
        assert_eq!(calls.begin(&device).err(), Some(CallError::TooMany { limit: 2 }));
        for wrong in ["A1B2C3D4E5/b/805306368", "A1B2C3D4E5/a/1", "A1B2C3D4E5/a", "x", "A1B2C3D4E5/a/x"] {
            calls.answered(wrong, b"no");
        }
        calls.answered(&format!("A1B2C3D4E5/a/{}", two.id), b"yes");
        calls.answered(&format!("A1B2C3D4E5/a/{}", two.id), b"again");
        assert!(one.answer.try_recv().is_err());
        assert_eq!(two.answer.try_recv().unwrap(), Bytes::from_static(b"yes"));
        drop((one, two));
        assert!(calls.begin(&device).is_ok() && calls.waiting.lock().is_empty());
    }
}

//! The end of a connection: its will, and whether its session is kept.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use weir_core::{Principal, Protocol};

use super::{
    CloseReason, End, Session, SessionKey, Will,
    registry::{Delayed, Fate},
};
use crate::{
    Broker, PublishError,
    delivery::{Change, Closed, ControlRecord, Gone},
    line::Line,
    policy::KnownTopic,
    presence::Reason,
};
use weir_log::Record;

/// How long a will, or the end itself, may wait for room in the log.
const PATIENCE: Duration = Duration::from_secs(5);

impl Session {
    /// Ends the connection's hold on the session. The will is published, or discarded, or left to wait for the client to
    /// come back.
    pub async fn close(mut self, end: End) {
        let reason = match (self.closed(), end) {
            (None, End::Disconnected { .. } | End::Lost) => Reason::Disconnected,
            (None, End::KeepAlive) => Reason::KeepAlive,
            (Some(_), _) | (None, End::Refused) => Reason::Ended,
        };
        let expiry = match end {
            End::Disconnected { expiry, .. } => expiry,
            _ => None,
        };
        let will = self.will.take();
        // [MQTT-3.14.4-3]
        let is_wanted = !matches!(end, End::Disconnected { with_will: false, .. });
        // A right that was taken away is not used once more.
        let may = self.closed() != Some(CloseReason::Disabled);
        let will = will.filter(|_| is_wanted && may);
        let kept_for = expiry.unwrap_or(self.expiry);
        let client = Client {
            broker: self.broker.clone(),
            key: self.key.clone(),
            principal: self.principal.clone(),
            client_id: Arc::clone(&self.client_id),
            protocol: self.protocol,
            line: Arc::clone(&self.line),
        };
        if let Some(will) = will {
            client.send_or_delay(*will, kept_for).await;
        }
        let is_written = self.kept && self.write_end(expiry).await;
        self.release_hold(reason, is_written);
    }

    /// Writes down that the connection is gone. Says whether it could be.
    async fn write_end(&self, expiry: Option<u32>) -> bool {
        let limit = u32::try_from(self.broker.limits().session_expiry.as_secs()).unwrap_or(u32::MAX);
        let closed = Closed { connection: self.line.id, expiry: expiry.map(|expiry| expiry.min(limit)) };
        let control = ControlRecord::new(&self.key, &Change::Closed(closed));
        let records: [Record<'_>; 1] = [control.record()];
        let appended = timeout(PATIENCE, self.broker.log().append_reserved(&records)).await;
        appended.is_ok_and(|appended| appended.is_ok())
    }

    fn release_hold(&mut self, reason: Reason, is_written: bool) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let broker = &self.broker;
        let open = broker.connections().remove(&self.key, &self.line, &self.principal, reason, broker.presence());
        broker.metrics().sessions(open);
        let gone = Gone { key: self.key.clone(), connection: self.line.id, is_written };
        broker.delivery().state.tell_gone(gone);
        self.line.release();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.release_hold(Reason::Disconnected, false);
    }
}

/// A client whose connection is gone, for as long as its will is to be dealt with.
struct Client {
    broker: Broker,
    key: SessionKey,
    principal: Principal,
    client_id: Arc<str>,
    protocol: Protocol,
    line: Arc<Line>,
}

impl Client {
    /// [MQTT-3.1.2-8], [MQTT5-3.1.2-8]: at once, or when the client has not come back in time, or when its session ends
    /// before that.
    async fn send_or_delay(self, will: Will, kept_for: u32) {
        let delay = will.delay.min(kept_for);
        if delay == 0 {
            return self.send(&will).await;
        }
        let told = match self.broker.connections().delay_will(&self.key, &self.line) {
            Delayed::Send => return self.send(&will).await,
            Delayed::Discard => return,
            Delayed::Wait(told) => told,
        };
        let background = self.broker.background().clone();
        let draining = background.token().clone();
        let wait = async move {
            let fate = tokio::select! {
                told = told => told.unwrap_or(Fate::Discarded),
                // The end of the hub is the end of the wait.
                () = draining.cancelled() => Fate::Sent,
                () = tokio::time::sleep(Duration::from_secs(u64::from(delay))) => Fate::Sent,
            };
            self.broker.connections().forget_will(&self.key, &self.line);
            if fate == Fate::Sent {
                self.send(&will).await;
            }
        };
        background.spawn("delayed will", wait);
    }

    /// Publishes the will with the client's own authority.
    async fn send(&self, will: &Will) {
        let publisher = self.principal.to_string();
        let mut envelope = will.message.envelope(&publisher, self.protocol);
        envelope.session = Some(&self.client_id);
        let ingress = self.broker.ingress();
        let publish = async {
            while let Err(PublishError::Busy) = ingress.accept(&self.principal, &[envelope], &mut KnownTopic::default())
            {
                self.broker.log().ready().await;
            }
        };
        // A refusal is counted there.
        if timeout(PATIENCE, publish).await.is_err() {
            self.broker.metrics().refused_for("publish", "will_timeout");
        }
    }
}

//! What a client asks for, and what its session says to it.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use weir_broker::PublishError;
use weir_core::{Classify, Envelope, Offset, Protocol, Qos};

use super::{
    end::End,
    traffic::{Client, FULL_PAUSE},
    wire::Wire,
};
use crate::{
    codec::{Publish, Subscribe, Unsubscribe},
    connection::{Received, Request},
};

/// What became of packets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// They are done with.
    All,
    /// They are done with, but for the last: it is to be answered when the log has it.
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    /// The log has no room now: they must be given again.
    Busy,
    /// The client publishes too fast: they must be given again then.
    Paced(Instant),
    /// One of several messages is refused: they must be given again one by one.
    OneByOne,
    /// The connection will be closed, and nothing more is read.
    Closing,
}

impl Client {
    /// Acts on what came out of some bytes.
    pub(super) fn act(&mut self, received: Received<'_>) -> Result<Done, End> {
        if !received.acknowledged.is_empty() {
            self.session.acknowledged(&received.acknowledged);
        }
        for packet_id in &received.completed {
            self.session.completed(*packet_id);
        }
        if let Some(refused) = received.refused {
            self.broker.metrics().refused_for("publish", refused.reason());
        }
        if !received.publishes.is_empty() {
            let done = self.publish(&received.publishes)?;
            if done != Done::All {
                return Ok(done);
            }
        }
        match received.request {
            None | Some(Request::Connect(_)) => {}
            Some(Request::Subscribe(subscribe)) => return Ok(Done::Subscribe(subscribe)),
            Some(Request::Unsubscribe(unsubscribe)) => return Ok(Done::Unsubscribe(unsubscribe)),
            Some(Request::Received(packet_id)) => match self.session.received(packet_id) {
                Ok(offset) => self.connection.received(packet_id, offset),
                Err(error) => return self.not_noted(error),
            },
            Some(Request::Release(packet_id)) => match self.session.release(packet_id) {
                Ok(offset) => self.connection.released(packet_id, offset),
                Err(error) => return self.not_noted(error),
            },
            Some(Request::Disconnect(leave)) => return Err(End::Disconnected(leave)),
        }
        Ok(Done::All)
    }

    /// Publishes a batch. A refusal is an answer in MQTT 5, and the end of the connection before it.
    fn publish(&mut self, publishes: &[Publish<'_>]) -> Result<Done, End> {
        let error = match self.append(publishes) {
            Ok(offset) => {
                self.connection.published(publishes, offset);
                return Ok(Done::All);
            }
            Err(error) => error,
        };
        match (error, publishes) {
            (PublishError::Busy, _) => Ok(Done::Busy),
            (error @ (PublishError::Failed | PublishError::Ended), _) => Err(self.session_end(error)),
            // Those before it are not refused.
            (_, [_, _, ..]) => Ok(Done::OneByOne),
            (PublishError::Paced { until }, _) => Ok(Done::Paced(until)),
            (error, [refused]) if self.protocol == Protocol::Mqtt5 => {
                self.connection.not_published(refused, error.kind());
                Ok(Done::All)
            }
            // A gateway's others do not go with one that has left it. At QoS 0 nobody waits for an answer [MQTT-3.3.5-2].
            (PublishError::NotThrough { .. }, [refused]) if refused.qos == Qos::AtMostOnce => Ok(Done::All),
            // 3.1.1 has no reason code for it: no PUBACK, no more reading, then close.
            (PublishError::Full, _) => {
                self.close(PublishError::Full.into(), FULL_PAUSE);
                Ok(Done::Closing)
            }
            // [MQTT-3.3.5-2]
            (error, _) => Err(error.into()),
        }
    }

    fn append(&mut self, publishes: &[Publish<'_>]) -> Result<Offset, PublishError> {
        let user: Vec<Option<String>> = if publishes.iter().all(|publish| publish.properties.user.is_empty()) {
            Vec::new()
        } else {
            publishes.iter().map(|publish| publish.properties.user.to_json()).collect()
        };
        let connection = &self.connection;
        let envelopes: Vec<Envelope<'_>> = publishes
            .iter()
            .enumerate()
            .map(|(place, publish)| Envelope {
                session: Some(&self.client_id),
                packet_id: publish.packet_id,
                retain: publish.retain,
                expiry: publish.properties.expiry,
                content_type: publish.properties.content_type,
                response_topic: publish.properties.response_topic,
                correlation: publish.properties.correlation,
                text: publish.properties.text,
                user_properties: user.get(place).and_then(Option::as_deref),
                ..Envelope::new(connection.topic(publish), &self.publisher, self.protocol, publish.qos, publish.payload)
            })
            .collect();
        self.session.publish(&envelopes)
    }

    /// A step of a QoS 2 handshake could not be written down.
    fn not_noted(&mut self, error: PublishError) -> Result<Done, End> {
        match error {
            PublishError::Busy => Ok(Done::Busy),
            error => Err(self.session_end(error)),
        }
    }

    /// The session's own reason, if that is why.
    fn session_end(&self, error: PublishError) -> End {
        match self.session.closed() {
            Some(reason) if error == PublishError::Ended => reason.into(),
            _ => error.into(),
        }
    }

    pub(super) async fn subscribe<S>(&mut self, wire: &mut Wire<S>, subscribe: Subscribe) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let answers = self.session.subscribe(&subscribe.filters).await;
        let granted: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
        Ok(self.connection.subscribed(subscribe.packet_id, &granted, wire.out())?)
    }

    pub(super) async fn unsubscribe<S>(&mut self, wire: &mut Wire<S>, unsubscribe: Unsubscribe) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let held = self.session.unsubscribe(&unsubscribe.filters).await;
        Ok(self.connection.unsubscribed(unsubscribe.packet_id, &held, wire.out())?)
    }
}

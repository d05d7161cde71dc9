//! An MQTT client that does one thing at a time, so that a test reads as what happened in order.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rumqttc::{
    Client, ConnectReturnCode, Connection, ConnectionError, Event, MqttOptions, Outgoing, Packet, QoS,
    SubscribeReasonCode,
};

use super::SOON;

#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) client_id: String,
    pub(crate) username: String,
    pub(crate) password: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
}

/// The hub closed the connection.
#[derive(Debug)]
pub(crate) struct Closed;

pub(crate) struct Mqtt {
    client: Client,
    connection: Connection,
    received: VecDeque<Message>,
}

impl Mqtt {
    pub(crate) fn connect(port: u16, login: &Login) -> Result<Self, ConnectReturnCode> {
        Self::open(port, login, true)
    }

    /// Goes on with a session that is kept.
    pub(crate) fn resume(port: u16, login: &Login) -> Result<Self, ConnectReturnCode> {
        Self::open(port, login, false)
    }

    fn open(port: u16, login: &Login, clean: bool) -> Result<Self, ConnectReturnCode> {
        let mut options = MqttOptions::new(&login.client_id, "127.0.0.1", port);
        options.set_credentials(&login.username, &login.password).set_keep_alive(Duration::from_secs(60));
        options.set_clean_session(clean);
        let (client, connection) = Client::new(options, 64);
        let mut mqtt = Self { client, connection, received: VecDeque::new() };
        match mqtt.event(SOON) {
            Some(Ok(Event::Incoming(Packet::ConnAck(_)))) => Ok(mqtt),
            Some(Err(ConnectionError::ConnectionRefused(code))) => Err(code),
            other => panic!("no CONNACK: {other:?}"),
        }
    }

    pub(crate) fn subscribe(&mut self, filter: &str) -> SubscribeReasonCode {
        self.client.subscribe(filter, QoS::AtLeastOnce).unwrap();
        let answer = self.until(|event| match event {
            Event::Incoming(Packet::SubAck(ack)) => Some(ack.return_codes[0]),
            _ => None,
        });
        answer.unwrap()
    }

    /// Publishes at QoS 1 and waits for the PUBACK.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) -> Result<(), Closed> {
        self.client.try_publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
        let id = self.until(|event| match event {
            Event::Outgoing(Outgoing::Publish(id)) => Some(*id),
            _ => None,
        })?;
        self.until(|event| match event {
            Event::Incoming(Packet::PubAck(ack)) if ack.pkid == id => Some(()),
            _ => None,
        })
    }

    /// The next message, or `None` if there is none in time.
    pub(crate) fn receive(&mut self, within: Duration) -> Option<Message> {
        let deadline = Instant::now() + within;
        while self.received.is_empty() {
            match self.event(deadline.saturating_duration_since(Instant::now()))? {
                Ok(event) => self.keep(&event),
                Err(_) => return None,
            }
        }
        self.received.pop_front()
    }

    /// Waits for an event that `wanted` knows.
    fn until<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> Result<T, Closed> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.event(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(event)) => {
                    self.keep(&event);
                    if let Some(found) = wanted(&event) {
                        return Ok(found);
                    }
                }
                Some(Err(_)) => return Err(Closed),
                None => panic!("the hub did not answer"),
            }
        }
    }

    fn keep(&mut self, event: &Event) {
        if let Event::Incoming(Packet::Publish(publish)) = event {
            let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
            self.received.push_back(Message { topic: publish.topic.clone(), payload });
        }
    }

    fn event(&mut self, within: Duration) -> Option<Result<Event, ConnectionError>> {
        self.connection.recv_timeout(within).ok()
    }
}

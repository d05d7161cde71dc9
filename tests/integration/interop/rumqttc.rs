//! rumqttc, in this process.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use rumqttc::{Outgoing, v5};
use serde_json::{Value, json};

use super::library::Library;
use crate::harness::SOON;

#[derive(Default)]
pub(super) struct Rumqttc {
    connections: HashMap<String, Connection>,
}

impl Library for Rumqttc {
    fn call(&mut self, command: &Value) -> Value {
        let name = text(command, "as").to_owned();
        let answer = match text(command, "do") {
            "connect" => connect(command).map(|(connection, answer)| {
                self.connections.insert(name, connection);
                answer
            }),
            // Without its event loop a connection is gone, and it says nothing.
            "cut" => self.connections.remove(&name).map(|_| json!({})).ok_or_else(|| "no such connection".to_owned()),
            other => {
                let connection = self.connections.get_mut(&name).expect("it is connected");
                match other {
                    "subscribe" => connection.subscribe(command),
                    "publish" => connection.publish(command),
                    "receive" => Ok(connection.receive(Duration::from_secs_f64(command["within"].as_f64().unwrap()))),
                    "disconnect" => connection.disconnect(),
                    _ => panic!("{command}"),
                }
            }
        };
        answer.unwrap_or_else(|error| json!({"error": error}))
    }
}

/// What both versions have, in one form.
enum Seen {
    Connected {
        session_present: bool,
    },
    Granted(Vec<u8>),
    /// A PUBLISH with this identifier has been written.
    Written(u16),
    Acknowledged(u16),
    Message(Value),
    /// DISCONNECT has been written.
    Left,
    Other,
}

enum Live {
    V4(rumqttc::Client, Box<rumqttc::Connection>),
    V5(v5::Client, Box<v5::Connection>),
}

struct Connection {
    live: Live,
    messages: VecDeque<Value>,
}

fn connect(command: &Value) -> Result<(Connection, Value), String> {
    let live = if command["version"] == "5" { connect_5(command) } else { connect_4(command) };
    let mut connection = Connection { live, messages: VecDeque::new() };
    let answer = match connection.event(SOON) {
        Some(Ok(Seen::Connected { session_present })) => json!({"code": 0, "session_present": session_present}),
        Some(Err(Ended::Refused(code))) => json!({"code": code, "session_present": false}),
        Some(Err(Ended::Broken(error))) => return Err(error),
        _ => return Err("no CONNACK".to_owned()),
    };
    Ok((connection, answer))
}

fn connect_4(command: &Value) -> Live {
    let mut options = rumqttc::MqttOptions::new(text(command, "client_id"), text(command, "host"), port(command));
    options.set_credentials(text(command, "username"), text(command, "password"));
    options.set_clean_session(command["clean"] == true);
    if let Some(will) = command.get("will") {
        let (topic, payload) = (text(will, "topic"), text(will, "payload"));
        options.set_last_will(rumqttc::LastWill::new(topic, payload, qos_4(will), will["retain"] == true));
    }
    let (client, connection) = rumqttc::Client::new(options, 64);
    Live::V4(client, Box::new(connection))
}

fn connect_5(command: &Value) -> Live {
    let mut options = v5::MqttOptions::new(text(command, "client_id"), text(command, "host"), port(command));
    options.set_credentials(text(command, "username"), text(command, "password"));
    options.set_clean_start(command["clean"] == true);
    options.set_session_expiry_interval(command["expiry"].as_u64().map(|seconds| seconds as u32));
    if let Some(will) = command.get("will") {
        let (topic, payload) = (text(will, "topic"), text(will, "payload"));
        let will = v5::mqttbytes::v5::LastWill::new(topic, payload, qos_5(will), will["retain"] == true, None);
        options.set_last_will(will);
    }
    let (client, connection) = v5::Client::new(options, 64);
    Live::V5(client, Box::new(connection))
}

/// Why there are no more events.
enum Ended {
    Refused(u8),
    Broken(String),
}

impl Connection {
    fn subscribe(&mut self, command: &Value) -> Result<Value, String> {
        let filter = text(command, "filter");
        match &self.live {
            Live::V4(client, _) => client.subscribe(filter, qos_4(command)).map_err(shown)?,
            Live::V5(client, _) => {
                let id = command["identifier"].as_u64().map(|id| id as usize);
                let properties = v5::mqttbytes::v5::SubscribeProperties { id, user_properties: Vec::new() };
                client.subscribe_with_properties(filter, qos_5(command), properties).map_err(shown)?;
            }
        }
        self.until(|seen| if let Seen::Granted(codes) = seen { Some(json!({"codes": codes})) } else { None })
    }

    fn publish(&mut self, command: &Value) -> Result<Value, String> {
        let (topic, payload, retain) = (text(command, "topic"), text(command, "payload"), command["retain"] == true);
        match &self.live {
            Live::V4(client, _) => client.publish(topic, qos_4(command), retain, payload).map_err(shown)?,
            Live::V5(client, _) => {
                let properties = properties_to_send(&command["properties"]);
                let (qos, payload) = (qos_5(command), payload.to_owned());
                client.publish_with_properties(topic, qos, retain, payload, properties).map_err(shown)?;
            }
        }
        let id = self.until(|seen| if let Seen::Written(id) = seen { Some(*id) } else { None })?;
        if command["qos"] == 0 {
            return Ok(json!({}));
        }
        self.until(|seen| matches!(seen, Seen::Acknowledged(acknowledged) if *acknowledged == id).then(|| json!({})))
    }

    fn receive(&mut self, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        while self.messages.is_empty() {
            match self.event(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return json!({}),
            }
        }
        self.messages.pop_front().unwrap()
    }

    fn disconnect(&mut self) -> Result<Value, String> {
        match &self.live {
            Live::V4(client, _) => client.disconnect().map_err(shown)?,
            Live::V5(client, _) => client.disconnect().map_err(shown)?,
        }
        self.until(|seen| matches!(seen, Seen::Left).then(|| json!({})))
    }

    fn until<T>(&mut self, wanted: impl Fn(&Seen) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.event(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(seen)) => {
                    if let Some(found) = wanted(&seen) {
                        return Ok(found);
                    }
                }
                Some(Err(Ended::Broken(error))) => return Err(error),
                Some(Err(Ended::Refused(code))) => return Err(format!("refused with {code}")),
                None => return Err("the hub did not answer".to_owned()),
            }
        }
    }

    /// The next event in time. Messages are kept on the way.
    fn event(&mut self, within: Duration) -> Option<Result<Seen, Ended>> {
        let event = match &mut self.live {
            Live::V4(_, connection) => connection.recv_timeout(within).ok()?.map(seen_4).map_err(|error| match error {
                rumqttc::ConnectionError::ConnectionRefused(code) => Ended::Refused(refusal_4(code)),
                other => Ended::Broken(other.to_string()),
            }),
            Live::V5(_, connection) => connection.recv_timeout(within).ok()?.map(seen_5).map_err(|error| match error {
                v5::ConnectionError::ConnectionRefused(code) => Ended::Refused(refusal_5(code)),
                other => Ended::Broken(other.to_string()),
            }),
        };
        if let Ok(Seen::Message(message)) = &event {
            self.messages.push_back(message.clone());
        }
        Some(event)
    }
}

fn seen_4(event: rumqttc::Event) -> Seen {
    use rumqttc::{Event, Packet};
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => Seen::Connected { session_present: ack.session_present },
        Event::Incoming(Packet::SubAck(ack)) => Seen::Granted(ack.return_codes.into_iter().map(granted_4).collect()),
        Event::Incoming(Packet::PubAck(ack)) => Seen::Acknowledged(ack.pkid),
        Event::Incoming(Packet::PubComp(ack)) => Seen::Acknowledged(ack.pkid),
        Event::Incoming(Packet::Publish(publish)) => Seen::Message(json!({
            "topic": publish.topic,
            "payload": String::from_utf8_lossy(&publish.payload),
            "qos": publish.qos as u8,
            "retain": publish.retain,
            "properties": {},
        })),
        Event::Outgoing(Outgoing::Publish(id)) => Seen::Written(id),
        Event::Outgoing(Outgoing::Disconnect) => Seen::Left,
        _ => Seen::Other,
    }
}

fn seen_5(event: v5::Event) -> Seen {
    use v5::{Event, mqttbytes::v5::Packet};
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => Seen::Connected { session_present: ack.session_present },
        Event::Incoming(Packet::SubAck(ack)) => Seen::Granted(ack.return_codes.into_iter().map(granted_5).collect()),
        Event::Incoming(Packet::PubAck(ack)) => Seen::Acknowledged(ack.pkid),
        Event::Incoming(Packet::PubComp(ack)) => Seen::Acknowledged(ack.pkid),
        Event::Incoming(Packet::Publish(publish)) => Seen::Message(json!({
            "topic": String::from_utf8_lossy(&publish.topic),
            "payload": String::from_utf8_lossy(&publish.payload),
            "qos": publish.qos as u8,
            "retain": publish.retain,
            "properties": properties_received(publish.properties.unwrap_or_default()),
        })),
        Event::Outgoing(Outgoing::Publish(id)) => Seen::Written(id),
        Event::Outgoing(Outgoing::Disconnect) => Seen::Left,
        _ => Seen::Other,
    }
}

fn properties_to_send(given: &Value) -> v5::mqttbytes::v5::PublishProperties {
    let word = |name: &str| given[name].as_str().map(str::to_owned);
    let pairs = given["user"].as_array().cloned().unwrap_or_default();
    let pair = |pair: Value| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned());
    v5::mqttbytes::v5::PublishProperties {
        message_expiry_interval: given["expiry"].as_u64().map(|seconds| seconds as u32),
        topic_alias: given["alias"].as_u64().map(|alias| alias as u16),
        response_topic: word("response_topic"),
        correlation_data: word("correlation").map(Into::into),
        user_properties: pairs.into_iter().map(pair).collect(),
        content_type: word("content_type"),
        ..Default::default()
    }
}

fn properties_received(given: v5::mqttbytes::v5::PublishProperties) -> Value {
    let correlation = given.correlation_data.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut found = json!({
        "expiry": given.message_expiry_interval,
        "response_topic": given.response_topic,
        "correlation": correlation,
        "content_type": given.content_type,
    });
    if !given.user_properties.is_empty() {
        found["user"] = json!(given.user_properties);
    }
    if !given.subscription_identifiers.is_empty() {
        found["identifiers"] = json!(given.subscription_identifiers);
    }
    found.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    found
}

fn granted_4(code: rumqttc::SubscribeReasonCode) -> u8 {
    match code {
        rumqttc::SubscribeReasonCode::Success(qos) => qos as u8,
        rumqttc::SubscribeReasonCode::Failure => 0x80,
    }
}

fn granted_5(code: v5::mqttbytes::v5::SubscribeReasonCode) -> u8 {
    match code {
        v5::mqttbytes::v5::SubscribeReasonCode::Success(qos) => qos as u8,
        _ => 0x80,
    }
}

/// As MQTT 5 says it.
fn refusal_4(code: rumqttc::ConnectReturnCode) -> u8 {
    match code {
        rumqttc::ConnectReturnCode::BadUserNamePassword => 0x86,
        rumqttc::ConnectReturnCode::NotAuthorized => 0x87,
        _ => 0x80,
    }
}

fn refusal_5(code: v5::mqttbytes::v5::ConnectReturnCode) -> u8 {
    match code {
        v5::mqttbytes::v5::ConnectReturnCode::BadUserNamePassword => 0x86,
        v5::mqttbytes::v5::ConnectReturnCode::NotAuthorized => 0x87,
        _ => 0x80,
    }
}

fn qos_4(command: &Value) -> rumqttc::QoS {
    rumqttc::qos(command["qos"].as_u64().unwrap() as u8).unwrap()
}

fn qos_5(command: &Value) -> v5::mqttbytes::QoS {
    v5::mqttbytes::qos(command["qos"].as_u64().unwrap() as u8).unwrap()
}

fn text<'a>(command: &'a Value, name: &str) -> &'a str {
    command[name].as_str().unwrap_or_else(|| panic!("no {name} in {command}"))
}

fn port(command: &Value) -> u16 {
    command["port"].as_u64().unwrap() as u16
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

//! What every client should be able to do with the hub, told once for all of them.

use serde_json::{Value, json};

use super::{
    library::Library,
    target::{Target, Transport},
};
use crate::harness::hub::PRODUCT;

/// What went wrong.
type Failure = String;

pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// It is about what older versions have not.
    pub(super) needs_5: bool,
    pub(super) run: fn(&mut Case<'_>) -> Result<(), Failure>,
}

pub(super) const SCENARIOS: [Scenario; 8] = [
    Scenario { name: "round-trip", needs_5: false, run: round_trip },
    Scenario { name: "retained", needs_5: false, run: retained },
    Scenario { name: "will", needs_5: false, run: will },
    Scenario { name: "offline", needs_5: false, run: offline },
    Scenario { name: "shared", needs_5: false, run: shared },
    Scenario { name: "refused", needs_5: false, run: refused },
    Scenario { name: "properties", needs_5: true, run: properties },
    Scenario { name: "request", needs_5: true, run: request },
];

/// A scenario with a library, a transport and a version, and a device of its own.
pub(super) struct Case<'a> {
    library: &'a mut dyn Library,
    target: &'a Target,
    transport: Transport,
    version: &'a str,
    device: &'a str,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        library: &'a mut dyn Library,
        target: &'a Target,
        transport: Transport,
        version: &'a str,
        device: &'a str,
    ) -> Self {
        Self { library, target, transport, version, device }
    }

    fn topic(&self, class: &str) -> String {
        format!("{PRODUCT}/{}/{class}", self.device)
    }

    fn call(&mut self, command: Value) -> Result<Value, Failure> {
        let answer = self.library.call(&command);
        if answer.get("error").is_some() { Err(format!("{command}: {answer}")) } else { Ok(answer) }
    }

    fn connect(&mut self, name: &str, parts: &[Value]) -> Result<Value, Failure> {
        let mut command = json!({"do": "connect", "as": name, "version": self.version, "clean": true});
        for part in parts {
            command.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        self.call(command)
    }

    /// Connects the device, which must succeed. Whether its session was there.
    fn connect_device(&mut self, more: Value) -> Result<bool, Failure> {
        let (address, who) = (self.target.address(self.transport), self.target.device(self.device, self.transport));
        let answer = self.connect("device", &[address, who, more])?;
        equal("CONNACK's code", &answer["code"], &json!(0))?;
        Ok(answer["session_present"] == true)
    }

    /// Connects an application by the name `name`.
    fn connect_application(&mut self, name: &str) -> Result<(), Failure> {
        let address = self.target.address(self.transport);
        let who = self.target.application(&format!("{}-{name}", self.device));
        let answer = self.connect(name, &[address, who])?;
        equal("CONNACK's code", &answer["code"], &json!(0))
    }

    fn subscribe(&mut self, name: &str, filter: &str, qos: u8) -> Result<(), Failure> {
        self.subscribe_with(name, filter, qos, json!({}))
    }

    fn subscribe_with(&mut self, name: &str, filter: &str, qos: u8, more: Value) -> Result<(), Failure> {
        let mut command = json!({"do": "subscribe", "as": name, "filter": filter, "qos": qos});
        command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.call(command)?;
        equal("SUBACK's codes", &answer["codes"], &json!([qos]))
    }

    fn publish(&mut self, name: &str, topic: &str, payload: &str, qos: u8) -> Result<(), Failure> {
        self.publish_with(name, topic, payload, qos, json!({}))
    }

    fn publish_with(&mut self, name: &str, topic: &str, payload: &str, qos: u8, more: Value) -> Result<(), Failure> {
        let mut command =
            json!({"do": "publish", "as": name, "topic": topic, "payload": payload, "qos": qos, "retain": false});
        command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call(command).map(drop)
    }

    /// The next message, or null if there is none in time.
    fn receive_within(&mut self, name: &str, seconds: f64) -> Result<Value, Failure> {
        self.call(json!({"do": "receive", "as": name, "within": seconds}))
    }

    fn receive(&mut self, name: &str) -> Result<Value, Failure> {
        let message = self.receive_within(name, 20.0)?;
        if message.get("topic").is_some() { Ok(message) } else { Err(format!("{name} received nothing")) }
    }

    /// The next message is this one.
    fn expect(&mut self, name: &str, topic: &str, payload: &str, qos: u8, retain: bool) -> Result<Value, Failure> {
        let message = self.receive(name)?;
        let seen = json!([message["topic"], message["payload"], message["qos"], message["retain"]]);
        equal("the message", &seen, &json!([topic, payload, qos, retain]))?;
        Ok(message)
    }

    fn end(&mut self, name: &str, how: &str) -> Result<(), Failure> {
        self.call(json!({"do": how, "as": name})).map(drop)
    }
}

fn equal(what: &str, seen: &Value, expected: &Value) -> Result<(), Failure> {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen}, and not {expected}")) }
}

fn ensure(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Both directions, at each QoS, in order.
fn round_trip(case: &mut Case<'_>) -> Result<(), Failure> {
    let (event, control) = (case.topic("event"), case.topic("control"));
    case.connect_application("application")?;
    case.subscribe("application", &event, 2)?;
    case.connect_device(json!({}))?;
    case.subscribe("device", &control, 2)?;
    for qos in 0..=2 {
        let payload = format!("at {qos}: grüße");
        case.publish("device", &event, &payload, qos)?;
        case.expect("application", &event, &payload, qos, false)?;
        case.publish("application", &control, &payload, qos)?;
        case.expect("device", &control, &payload, qos, false)?;
    }
    case.end("device", "disconnect")?;
    case.end("application", "disconnect")
}

/// A retained message waits for subscribers, marked as such, until it is cleared.
fn retained(case: &mut Case<'_>) -> Result<(), Failure> {
    let control = case.topic("control");
    case.connect_application("application")?;
    case.publish_with("application", &control, "first", 1, json!({"retain": true}))?;
    case.publish_with("application", &control, "kept", 1, json!({"retain": true}))?;
    case.connect_device(json!({}))?;
    case.subscribe("device", &control, 1)?;
    case.expect("device", &control, "kept", 1, true)?;
    case.publish_with("application", &control, "live", 1, json!({"retain": true}))?;
    case.expect("device", &control, "live", 1, false)?;
    case.publish_with("application", &control, "", 1, json!({"retain": true}))?;
    case.expect("device", &control, "", 1, false)?;
    case.end("device", "disconnect")?;

    case.connect_device(json!({}))?;
    case.subscribe("device", &control, 1)?;
    case.publish("application", &control, "nothing was before", 1)?;
    case.expect("device", &control, "nothing was before", 1, false)?;
    case.end("device", "disconnect")?;
    case.end("application", "disconnect")
}

/// A will is published when the connection breaks, and not when the client says goodbye.
fn will(case: &mut Case<'_>) -> Result<(), Failure> {
    let event = case.topic("event");
    let with_will = |payload| json!({"will": {"topic": event, "payload": payload, "qos": 1, "retain": false}});
    case.connect_application("application")?;
    case.subscribe("application", &event, 1)?;
    case.connect_device(with_will("never said"))?;
    case.end("device", "disconnect")?;
    case.connect_device(with_will("gone"))?;
    case.end("device", "cut")?;
    case.expect("application", &event, "gone", 1, false)?;
    case.end("application", "disconnect")
}

/// A session keeps its subscription and gathers messages while its client is away.
fn offline(case: &mut Case<'_>) -> Result<(), Failure> {
    let control = case.topic("control");
    let persistent = json!({"clean": false, "expiry": 600});
    ensure(!case.connect_device(persistent.clone())?, "a session was there before the first connection")?;
    case.subscribe("device", &control, 2)?;
    case.end("device", "disconnect")?;
    case.connect_application("application")?;
    let sent = [("one", 1), ("two", 2), ("three", 1), ("four", 2)];
    for (payload, qos) in sent {
        case.publish("application", &control, payload, qos)?;
    }
    ensure(case.connect_device(persistent)?, "the session is not there")?;
    let mut received = Vec::new();
    for _ in sent {
        let message = case.receive("device")?;
        received.push((message["payload"].as_str().unwrap_or_default().to_owned(), message["qos"].clone()));
    }
    // Order is promised at each QoS by itself, and some libraries hand a QoS 2 message over when it is released.
    received.sort_by_key(|(_, qos)| qos.as_u64());
    equal("the messages", &json!(received), &json!([("one", 1), ("three", 1), ("two", 2), ("four", 2)]))?;
    case.end("device", "disconnect")?;
    ensure(!case.connect_device(json!({}))?, "the session is there after a clean start")?;
    case.end("device", "disconnect")?;
    case.end("application", "disconnect")
}

/// The members of a group share the messages of its filter.
fn shared(case: &mut Case<'_>) -> Result<(), Failure> {
    let event = case.topic("event");
    for name in ["first", "second"] {
        case.connect_application(name)?;
        case.subscribe(name, &format!("$share/{}/{event}", case.device), 1)?;
    }
    case.connect_device(json!({}))?;
    let sent: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for payload in &sent {
        case.publish("device", &event, payload, 1)?;
    }
    let (mut received, mut shares) = (Vec::new(), [0, 0]);
    // Whichever has none waits for the other, so both in turn.
    for turn in 0..200 {
        let index = turn % 2;
        while let Some(payload) = case.receive_within(["first", "second"][index], 0.1)?["payload"].as_str() {
            received.push(payload.to_owned());
            shares[index] += 1;
        }
        if received.len() >= sent.len() {
            break;
        }
    }
    received.sort_by_key(|payload| payload.parse::<u32>().ok());
    equal("the messages of both", &json!(received), &json!(sent))?;
    ensure(shares.iter().all(|share| *share > 0), &format!("shares of {shares:?}"))?;
    for name in ["device", "first", "second"] {
        case.end(name, "disconnect")?;
    }
    Ok(())
}

/// A wrong password has a reason code of its own.
fn refused(case: &mut Case<'_>) -> Result<(), Failure> {
    let address = case.target.address(case.transport);
    let who = case.target.application(&format!("{}-stranger", case.device));
    let answer = case.connect("stranger", &[address, who, json!({"password": "wrong"})])?;
    equal("CONNACK's code", &answer["code"], &json!(case.target.refusal()))
}

/// Whatever a publisher says about a message in MQTT 5 comes to the subscriber, and so do the subscription's identifiers.
fn properties(case: &mut Case<'_>) -> Result<(), Failure> {
    let event = case.topic("event");
    case.connect_application("application")?;
    case.subscribe_with("application", &event, 1, json!({"identifier": 7}))?;
    case.connect_device(json!({}))?;
    let sent = json!({
        "user": [["first", "1"], ["second", "ü"], ["second", "2"]],
        "content_type": "text/plain",
        "response_topic": "reply/to",
        "correlation": "id-1",
        "expiry": 600,
        "alias": 1,
    });
    case.publish_with("device", &event, "with properties", 1, json!({"properties": sent}))?;
    let message = case.expect("application", &event, "with properties", 1, false)?;
    let mut received = message["properties"].clone();
    let expiry = received["expiry"].take();
    ensure(expiry.as_u64().is_some_and(|left| (1..=600).contains(&left)), &format!("an expiry of {expiry}"))?;
    let mut expected = sent.clone();
    expected["expiry"] = Value::Null;
    expected["identifiers"] = json!([7]);
    for object in [&mut received, &mut expected] {
        object.as_object_mut().unwrap().remove("alias");
    }
    equal("the properties", &received, &expected)?;
    // The alias stands for the topic from now on [MQTT5-3.3.2-12].
    case.publish_with("device", "", "by alias", 1, json!({"properties": {"alias": 1}}))?;
    case.expect("application", &event, "by alias", 1, false)?;
    case.end("device", "disconnect")?;
    case.end("application", "disconnect")
}

/// A request and its response (section 4.10 of MQTT 5).
fn request(case: &mut Case<'_>) -> Result<(), Failure> {
    let (event, control) = (case.topic("event"), case.topic("control"));
    case.connect_application("application")?;
    case.subscribe("application", &event, 1)?;
    case.connect_device(json!({}))?;
    case.subscribe("device", &control, 1)?;
    let asked = json!({"properties": {"response_topic": control, "correlation": "42"}});
    case.publish_with("device", &event, "what time is it?", 1, asked)?;
    let question = case.expect("application", &event, "what time is it?", 1, false)?["properties"].clone();
    let (to, correlation) = (question["response_topic"].as_str().unwrap_or_default(), &question["correlation"]);
    case.publish_with("application", to, "noon", 1, json!({"properties": {"correlation": correlation}}))?;
    let answer = case.expect("device", &control, "noon", 1, false)?;
    equal("the correlation", &answer["properties"]["correlation"], &json!("42"))?;
    case.end("device", "disconnect")?;
    case.end("application", "disconnect")
}

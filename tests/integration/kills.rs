//! kill -9 under load, again and again: what was acknowledged is there, every effect arrived, and the books balance.
//!
//! Two clients publish at QoS 1 while the hub is killed: one in this process, and mosquitto_pub. `WEIR_KILLS` says how
//! often (3 without it; 50 is the long form). The same runs on storage that forgets everything unsynced.

use std::{
    collections::{BTreeSet, VecDeque},
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rumqttc::{Client, Connection, Event, MqttOptions, Outgoing, Packet, QoS};
use serde_json::{Value, json};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT},
    mosquitto,
    mqtt::Login,
    powerloss::Powerloss,
    receiver::Receiver,
};

const SETTLED: Duration = Duration::from_secs(120);

/// What one client sent, and which of it was acknowledged: message numbers, increasing over all lives of the hub.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The highest number that may have been sent.
    last: u64,
    acknowledged: BTreeSet<u64>,
}

/// Every third message is too cold for the rule.
fn is_hot(number: u64) -> bool {
    !number.is_multiple_of(3)
}

fn payload(who: &str, number: u64) -> String {
    json!({"who": who, "n": number, "temp": if is_hot(number) { 31.5 } else { 12.0 }}).to_string()
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    survives(None);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    survives(Some(Powerloss::build()));
}

/// Shows that the storage above forgets, and that this file would notice.
#[test]
fn without_syncs_a_power_cut_loses_what_was_acknowledged() {
    let mut hub = Hub::with(&["log.sync=never"], Some(Powerloss::build()));
    hub.create_product();
    let ours = hub.create_device("ours");
    let mut sent = Sent::default();
    load(hub.mqtt_port(), &ours, &mut sent, 50);
    hub.kill();
    hub.restart();
    let logged = numbers(&hub, &format!("{PRODUCT}/ours/event"), "ours", sent.last);
    assert!(sent.acknowledged.len() >= 50 && logged.is_empty(), "{logged:?}");
}

fn survives(powerloss: Option<Powerloss>) {
    let kills: u64 = std::env::var("WEIR_KILLS").map_or(3, |text| text.parse().unwrap());
    // Small segments, so that kills also meet a change of segment; and what can go to the lake, which is killed as well,
    // is soon nowhere else.
    let settings = ["log.segment_bytes=1 MiB", "log.retain_bytes=0", "lake.interval=100 ms"];
    let mut hub = Hub::with(&settings, powerloss);
    let receiver = Receiver::start();
    hub.create_product();
    let ours = hub.create_device("ours");
    let theirs = hub.create_device("theirs");
    hub.create_device("panel");
    hub.apply(&format!(
        "CREATE RULE hot TO webhook(url => '{}'), republish(topic => '{PRODUCT}/panel/control') \
         AS SELECT who, n FROM '{PRODUCT}/+/event' WHERE temp > 30",
        receiver.url("/hot")
    ));
    let (mut our_sent, mut their_sent) = (Sent::default(), Sent::default());

    for kill in 0..kills {
        // Differs from kill to kill, and is the same in each run.
        let wanted = 50 + kill.wrapping_mul(2_654_435_761) % 400;
        let mosquitto = Mosquitto::start(hub.mqtt_port(), &theirs, &their_sent);
        load(hub.mqtt_port(), &ours, &mut our_sent, wanted);
        hub.kill();
        mosquitto.end(&mut their_sent);
        hub.restart();
        for action in [0, 1] {
            hub.action("hot", action);
        }
    }
    assert!(their_sent.acknowledged.len() as u64 > kills, "mosquitto_pub hardly had a PUBACK");

    for (who, sent) in [("ours", &our_sent), ("theirs", &their_sent)] {
        let logged = numbers(&hub, &format!("{PRODUCT}/{who}/event"), who, sent.last);
        let lost: Vec<_> = sent.acknowledged.difference(&logged).collect();
        assert!(lost.is_empty(), "{who}: acknowledged and not in the log: {lost:?}");
    }

    let events = hub.count(&format!("{PRODUCT}/+/event"));
    for action in [0, 1] {
        let state = eventually("every effect is settled", SETTLED, || {
            let state = hub.action("hot", action);
            (state["pending"] == 0 && state["read"] == events).then_some(state)
        });
        assert_eq!((&state["dead_lettered"], &state["failed"]), (&json!(0), &json!(0)), "{state}");
        assert_eq!(state["produced"], state["matched"], "{state}");
    }
    for (who, sent) in [("ours", &our_sent), ("theirs", &their_sent)] {
        let hot: BTreeSet<u64> = sent.acknowledged.iter().copied().filter(|number| is_hot(*number)).collect();
        let received = receiver.received("/hot").into_iter().map(|received| received.body["payload"].clone());
        let at_webhook: BTreeSet<u64> =
            received.filter(|row| row["who"] == who).filter_map(|row| as_number(&row["n"])).collect();
        assert_eq!(hot.difference(&at_webhook).count(), 0, "{who}: effects that never came to the webhook");
        let republished = numbers(&hub, &format!("{PRODUCT}/panel/control"), who, sent.last);
        assert_eq!(hot.difference(&republished).count(), 0, "{who}: effects that were never republished");
    }
    // The log's own messages and the effects they had: more effects than messages are repeats, never fewer.
    assert!(hub.count(&format!("{PRODUCT}/panel/control")) >= hub.action("hot", 1)["matched"].as_u64().unwrap());
}

/// The message numbers of `who` in the log, read in pieces that stay below the limit of a query's rows.
fn numbers(hub: &Hub, filter: &str, who: &str, last: u64) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for from in (0..=last).step_by(2_000) {
        let to = from + 2_000;
        let sql = format!("SELECT n FROM '{filter}' WHERE who = '{who}' AND n >= {from} AND n < {to} LIMIT 9000");
        found.extend(hub.query(&sql).iter().filter_map(|row| as_number(&row[0])));
    }
    found
}

fn as_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().map(|number| number as u64)).or_else(|| value.as_str()?.parse().ok())
}

/// Publishes as fast as 64 in flight allow, until `wanted` more messages have been acknowledged.
pub(crate) fn load(port: u16, login: &Login, sent: &mut Sent, wanted: u64) {
    let mut options = MqttOptions::new(&login.client_id, "127.0.0.1", port);
    options.set_credentials(&login.username, &login.password).set_inflight(64);
    let (client, mut connection): (Client, Connection) = Client::new(options, 64);
    let topic = format!("{}/event", login.username);
    let (mut written, mut in_flight) = (VecDeque::new(), std::collections::HashMap::new());
    let goal = sent.acknowledged.len() as u64 + wanted;
    while (sent.acknowledged.len() as u64) < goal {
        loop {
            let number = sent.last + 1;
            if client.try_publish(&topic, QoS::AtLeastOnce, false, payload("ours", number)).is_err() {
                break;
            }
            sent.last = number;
            written.push_back(number);
        }
        match connection.recv_timeout(SOON).expect("the hub answers").expect("the connection stands") {
            Event::Outgoing(Outgoing::Publish(id)) => {
                in_flight.insert(id, written.pop_front().unwrap());
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                sent.acknowledged.insert(in_flight.remove(&ack.pkid).unwrap());
            }
            _ => {}
        }
    }
}

/// mosquitto_pub with an endless standard input. It says on standard output what was acknowledged.
struct Mosquitto {
    process: Child,
    /// The number of the first line, which has packet identifier 1.
    first: u64,
    writer: thread::JoinHandle<u64>,
    reader: thread::JoinHandle<Vec<u64>>,
}

impl Mosquitto {
    /// Starts, and waits for the first acknowledgement.
    fn start(port: u16, login: &Login, sent: &Sent) -> Self {
        let topic = format!("{}/event", login.username);
        let mut command = mosquitto::client("mosquitto_pub", port, login);
        command.args(["-t", &topic, "-l", "-d"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (mut input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let first = sent.last + 1;
        // At most so many lines wait for their PUBACK. Both threads end when the process does, which closes the pipes.
        let (line_written, acknowledged) = mpsc::sync_channel(256);
        let writer = thread::spawn(move || {
            let mut number = first;
            while line_written.send(()).is_ok() && writeln!(input, "{}", payload("theirs", number)).is_ok() {
                number += 1;
            }
            number
        });
        let (begun, has_begun) = mpsc::sync_channel(1);
        let reader = thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // "Client x received PUBACK (Mid: 7, RC:0)"
            let id = |line: String| {
                let (_, rest) = line.split_once("received PUBACK (Mid: ")?;
                let _told_before = begun.try_send(());
                let _never_fails = acknowledged.recv();
                rest.split(',').next()?.parse::<u64>().ok()
            };
            lines.filter_map(id).collect()
        });
        has_begun.recv_timeout(SOON).expect("mosquitto_pub gets a PUBACK");
        Self { process, first, writer, reader }
    }

    fn end(mut self, sent: &mut Sent) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        sent.last = self.writer.join().unwrap();
        sent.acknowledged.extend(self.reader.join().unwrap().into_iter().map(|id| self.first + id - 1));
    }
}

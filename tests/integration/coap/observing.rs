//! Observing a topic, with libcoap's client and with aiocoap.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use serde_json::json;

use super::{Constrained, client, network::Lossy};
use crate::harness::{SOON, eventually, hub::PRODUCT};

/// A client that observes, and the lines that it prints.
pub(super) struct Observer {
    process: Child,
    lines: Receiver<String>,
}

impl Observer {
    pub(super) fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = process.stdout.take().unwrap();
        let (sender, lines) = sync_channel(1_000);
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .map_while(|line| sender.send(line).ok())
                .for_each(drop);
        });
        Self { process, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(100)).unwrap()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _may_have_ended = self.process.kill();
        let _no_more_to_do = self.process.wait();
    }
}

impl Constrained {
    fn tell(&self, payload: &str) {
        self.hub.post("/v1/publish", &json!({"topic": format!("{PRODUCT}/dev/control"), "payload": payload}));
    }

    fn subscriptions(&self) -> usize {
        self.hub.session("dev").map_or(0, |session| session["subscriptions"].as_array().map_or(0, Vec::len))
    }
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|index| u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).unwrap()).collect()
}

#[test]
fn every_message_arrives_in_order_also_over_a_network_that_loses() {
    let coap = Constrained::with(&["coap.acknowledgement=200 ms"]);
    for port in [None, Some(5)] {
        let network = port.map(|seed| Lossy::to(coap.hub.coap_port(), seed));
        let port = network.as_ref().map_or(coap.hub.coap_port(), Lossy::port);
        let uri = coap.uri(port, &format!("{PRODUCT}/dev/control"));
        let observer = Observer::start(&mut coap.aiocoap(&["observe", &uri, "20"]));
        assert_eq!(observer.line(), "observing");
        for number in 0..20 {
            coap.tell(&format!("message {number}"));
        }
        for number in 0..20 {
            assert_eq!(unhex(&observer.line()), format!("message {number}").into_bytes());
        }
        // It has ended its observation, and rejects what follows; the subscription ends with the observation.
        eventually("nobody observes", SOON * 2, || {
            coap.tell("one more");
            (coap.subscriptions() == 0).then_some(())
        });
    }
}

#[test]
fn a_long_message_is_read_in_blocks() {
    let coap = Constrained::start();
    let uri = coap.here(&format!("{PRODUCT}/dev/control"));
    let observer = Observer::start(&mut coap.aiocoap(&["observe", &uri, "3"]));
    assert_eq!(observer.line(), "observing");
    for letter in ["a", "b", "c"] {
        coap.tell(&letter.repeat(5_000));
    }
    for letter in ["a", "b", "c"] {
        assert!(unhex(&observer.line()) == letter.repeat(5_000).into_bytes(), "{letter}");
    }
}

#[test]
fn libcoaps_client_observes_and_is_missed_when_it_is_gone() {
    let coap = Constrained::with(&["coap.acknowledgement=100 ms"]);
    let uri = coap.here(&format!("{PRODUCT}/dev/control"));
    let mut command = client("coap-client-openssl", &["-s", "60", "-m", "get", &uri]);
    // Line by line, even into a pipe.
    let mut buffered = Command::new("stdbuf");
    buffered.arg("-oL").arg(command.get_program()).args(command.get_args());
    command = buffered;
    let observer = Observer::start(&mut command);
    eventually("it observes", SOON, || (coap.subscriptions() == 1).then_some(()));
    coap.tell("one\n");
    let heard = std::iter::from_fn(|| Some(observer.line())).find(|line| !line.trim().is_empty());
    assert_eq!(heard.as_deref(), Some("one"));
    drop(observer);
    // `timeout` was killed and its child lives on; the notification that follows is rejected or not answered.
    coap.tell("two\n");
    eventually("it is missed", SOON, || (coap.subscriptions() == 0).then_some(()));
}

//! The server under test, as one test sees it: an MQTT version, and names that no other test has.

use std::sync::atomic::{AtomicU32, Ordering};

use super::client::Client;
use crate::harness::{
    mqtt::Login,
    shared,
    wire::{Connect, Packet, Property, Publish, Version, Will, Wire},
};

pub(crate) const BOTH: [Version; 2] = [Version::V311, Version::V5];

pub(crate) struct Peer {
    pub(crate) version: Version,
    pub(crate) port: u16,
    /// First level of the test's topics, and beginning of its client identifiers.
    name: String,
}

impl Peer {
    pub(crate) fn at(version: Version) -> Self {
        static TESTS: AtomicU32 = AtomicU32::new(0);
        let number = TESTS.fetch_add(1, Ordering::Relaxed);
        let port = another_server().unwrap_or_else(|| shared::hub().mqtt_port());
        // A server that is not ours may outlast us, with what we left there.
        Self { version, port, name: format!("c{}x{number}", std::process::id()) }
    }

    pub(crate) fn v5() -> Self {
        Self::at(Version::V5)
    }

    pub(crate) fn v311() -> Self {
        Self::at(Version::V311)
    }

    pub(crate) fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.name)
    }

    pub(crate) fn login(&self, client: &str) -> Login {
        let client_id = format!("{}{client}", self.name);
        match another_server() {
            Some(_) => Login { client_id, username: "user".to_owned(), password: "password".to_owned() },
            None => shared::hub().administrator(&client_id),
        }
    }

    // === CONNECT ===

    /// Clean, without keep-alive, and gone when the connection ends.
    pub(crate) fn clean(&self, client: &str) -> Connect {
        Connect::of(&self.login(client))
    }

    /// Goes on with the session that is there, and leaves it behind.
    pub(crate) fn persistent(&self, client: &str) -> Connect {
        Connect::persistent(&self.login(client), self.version)
    }

    pub(crate) fn with_will(&self, client: &str, will: Will) -> Connect {
        Connect { will: Some(will), ..self.clean(client) }
    }

    // === connections ===

    /// Nothing is said yet.
    pub(crate) fn open(&self) -> Wire {
        Wire::open(self.port, self.version)
    }

    /// Must be accepted.
    pub(crate) fn connect(&self, connect: &Connect) -> Client {
        let (wire, connack) = Wire::connect(self.port, self.version, connect).expect("a CONNACK");
        assert_eq!(connack.code, 0, "{connack:?}");
        Client::on(wire, connack)
    }

    pub(crate) fn client(&self, client: &str) -> Client {
        self.connect(&self.clean(client))
    }

    /// A client that is subscribed at QoS 2.
    pub(crate) fn subscriber(&self, client: &str, filter: &str) -> Client {
        let mut client = self.client(client);
        assert_eq!(client.subscribe(filter, 2), 2, "{filter}");
        client
    }

    // === time ===

    /// Lets the server's clock go on: a will is published that has so many seconds of delay.
    pub(crate) fn pass(&self, seconds: u32) {
        let peer = Self { version: Version::V5, port: self.port, name: self.name.clone() };
        let topic = peer.topic("passed");
        let mut waiting = peer.subscriber("waiting", &topic);
        let properties = vec![Property::WillDelay(seconds)];
        let will = Will { topic, payload: b"passed".to_vec(), properties, ..Will::default() };
        let session = vec![Property::SessionExpiry(seconds + 60)];
        let leaving = Connect { properties: session, ..peer.with_will("leaving", will) };
        peer.connect(&leaving).cut();
        assert_eq!(waiting.message().payload, b"passed");
    }
}

/// The port of a server that is not ours, if the tests shall speak to one.
pub(crate) fn another_server() -> Option<u16> {
    std::env::var("CONFORMANCE_PEER").ok().map(|port| port.parse().expect("CONFORMANCE_PEER is a port"))
}

/// For each version, a fresh [`Peer`].
pub(crate) fn both(test: impl Fn(&Peer)) {
    BOTH.into_iter().for_each(|version| test(&Peer::at(version)));
}

pub(crate) fn payloads(messages: &[Publish]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.payload.clone()).unwrap()).collect()
}

/// Sends bytes on a connection of its own, and gives what comes before the server closes it.
pub(crate) fn answered_and_closed(peer: &Peer, bytes: &[u8]) -> Vec<Packet> {
    let mut wire = peer.open();
    let _shows_in_what_comes = wire.send_bytes(bytes);
    wire.until_closed()
}

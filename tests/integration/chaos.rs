//! Chaos: clients with persistent sessions, QoS 0, 1 and 2, connections that end anywhere, and a server that is killed.
//!
//! One thread does everything, a packet at a time, as a seed says; what the server does meanwhile is its own affair. A
//! model ([`model`]) knows what must and must not arrive. A run prints its seed; `WEIR_CHAOS_SEED` repeats its decisions,
//! and `WEIR_CHAOS` says how often the server is killed (3 without it).
//!
//! The same runs against mosquitto show that the clients keep to the protocol and that the model is not too strict, and
//! against mosquitto killed, which keeps nothing on disk as it is started here, that it notices.

mod client;
mod model;
mod random;

use std::time::{Duration, Instant};

use serde_json::Value;

use self::{
    client::{Client, Role},
    model::{Census, Fault, Model},
    random::Random,
};
use crate::harness::{
    eventually,
    hub::{Hub, PRODUCT},
    mosquitto::Broker,
    mqtt::Login,
    powerloss::Powerloss,
    wire::Version,
};

/// Acknowledged messages between two kills, at least; at most twice as many.
const ROUND: usize = 300;
/// Time for the server, which may have no other processor.
const MOMENT: Duration = Duration::from_millis(1);
/// How often a client may read and answer before it is another's turn.
const EXCHANGES: usize = 30;
const SETTLED: Duration = Duration::from_secs(240);

#[test]
fn sessions_survive_a_killed_hub() {
    let mut chaos = Chaos::on_hub(None);
    chaos.rage(kills());
    chaos.reckon();
}

#[test]
fn sessions_survive_a_power_cut() {
    let mut chaos = Chaos::on_hub(Some(Powerloss::build()));
    chaos.rage(kills());
    chaos.reckon();
}

#[test]
fn the_clients_and_the_model_agree_with_another_server() {
    let mut chaos = Chaos::on_mosquitto();
    chaos.rage(0);
    chaos.reckon();
}

#[test]
fn the_model_notices_a_server_that_forgets() {
    let mut chaos = Chaos::on_mosquitto();
    chaos.rage(1);
    eventually("the model misses sessions", SETTLED, || {
        chaos.drain(Duration::ZERO);
        chaos.model.faults().iter().any(|fault| matches!(fault, Fault::SessionLost { .. })).then_some(())
    });
    // What is under way still comes. The rest never will.
    chaos.drain(Duration::from_secs(2));
    assert!(!chaos.model.missing().is_empty());
}

fn kills() -> usize {
    std::env::var("WEIR_CHAOS").map_or(3, |text| text.parse().unwrap())
}

fn seed() -> u64 {
    let chosen = std::env::var("WEIR_CHAOS_SEED").ok().map(|text| text.parse().unwrap());
    let time = || std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
    chosen.unwrap_or_else(time)
}

enum Server {
    Hub(Box<Hub>),
    Mosquitto(Broker),
}

struct Chaos {
    server: Server,
    clients: Vec<Client>,
    model: Model,
    random: Random,
}

impl Chaos {
    fn on_hub(powerloss: Option<Powerloss>) -> Self {
        let hub = Hub::with(&["log.segment_bytes=1 MiB"], powerloss);
        hub.create_product();
        let device = |name: &str| hub.create_device(name);
        let roles = roles(device, |name, subscribe, publish| application(&hub, name, subscribe, publish));
        Self::with(roles, Server::Hub(Box::new(hub)))
    }

    fn on_mosquitto() -> Self {
        let anybody =
            |name: &str| Login { client_id: name.to_owned(), username: "u".to_owned(), password: "p".to_owned() };
        let mut roles = roles(anybody, |name, _, _| anybody(name));
        for role in &mut roles {
            // Version 2.0.11 sends more than the receive maximum to a client that comes back with messages unanswered.
            role.receive_maximum = 1_000;
        }
        Self::with(roles, Server::Mosquitto(Broker::start()))
    }

    fn with(roles: Vec<Role>, server: Server) -> Self {
        let seed = seed();
        eprintln!("WEIR_CHAOS_SEED={seed}");
        let clients = roles.into_iter().map(Client::new).collect();
        Self { server, clients, model: Model::default(), random: Random::of(seed) }
    }

    fn port(&self) -> u16 {
        match &self.server {
            Server::Hub(hub) => hub.mqtt_port(),
            Server::Mosquitto(broker) => broker.port(),
        }
    }

    /// Rounds, with a kill of the server between each and the next. Before them everybody gets the one subscription that
    /// stands for ever, so that from then on everything that matches it is due.
    fn rage(&mut self, kills: usize) {
        assert!(self.drain(SETTLED), "nobody is there: {}", self.report());
        for client in &mut self.clients {
            client.subscribe_for_ever(&mut self.model);
        }
        assert!(self.drain(SETTLED), "subscriptions are not granted: {}", self.report());
        for round in 0..=kills {
            // Counted in what was done, not in steps or time, so that a kill on a slow machine hits as much as on a fast one.
            let goal = self.model.census().acknowledged + ROUND + self.random.below(ROUND);
            let deadline = Instant::now() + SETTLED;
            while self.model.census().acknowledged < goal {
                assert!(Instant::now() < deadline, "the server makes no progress: {}", self.report());
                self.step();
            }
            if round < kills {
                match &mut self.server {
                    Server::Hub(hub) => {
                        hub.kill();
                        hub.restart();
                    }
                    Server::Mosquitto(broker) => broker.kill_and_restart(),
                }
            }
        }
    }

    /// Somebody does something.
    fn step(&mut self) {
        let port = self.port();
        let is_gentle = matches!(self.server, Server::Mosquitto(_));
        let (model, random) = (&mut self.model, &mut self.random);
        let chosen = random.below(self.clients.len());
        let client = &mut self.clients[chosen];
        if client.is_offline() {
            if random.percent(30) {
                client.connect(port);
            }
            return;
        }
        match random.below(100) {
            0..25 => {
                for _ in 0..=random.below(5) {
                    client.publish(model, random, false);
                }
            }
            25..60 => {
                client.read(model, 12, Duration::ZERO);
                client.answer(random.below(12));
            }
            60..85 => {
                client.read(model, 2, MOMENT);
                client.answer_all();
            }
            85..93 => client.change_subscriptions(model, random),
            // mosquitto 2.0.11 repeats QoS 2 messages and changes their order for clients that come back twice before they
            // have answered, so there they first finish what they have.
            93..95 if is_gentle => {
                client.finish_reading(model);
                client.cut();
            }
            95.. if is_gentle => {}
            97 => client.disconnect(),
            93..95 => client.publish(model, random, true),
            95..97 => client.cut(),
            // A client that has read and dies before it has answered everything.
            _ => {
                client.read(model, 8, Duration::ZERO);
                client.answer(random.below(3));
                client.cut();
            }
        }
    }

    /// Everybody comes back, says nothing new, and answers, until all is done or nothing that was missing has come for so
    /// long.
    fn drain(&mut self, within: Duration) -> bool {
        let mut deadline = Instant::now() + within;
        let mut missing = usize::MAX;
        let port = self.port();
        loop {
            for client in &mut self.clients {
                if client.is_offline() {
                    client.connect(port);
                }
                // Whoever may have few messages unanswered gets many only if it answers at once.
                for _ in 0..EXCHANGES {
                    let is_silent = client.read(&mut self.model, 50, MOMENT) == 0;
                    client.answer_all();
                    if is_silent {
                        break;
                    }
                }
            }
            let left = self.model.missing().len();
            if self.clients.iter().all(Client::is_settled) && left == 0 {
                return true;
            }
            if left < missing {
                (missing, deadline) = (left, Instant::now() + within);
            }
            if Instant::now() > deadline {
                return false;
            }
        }
    }

    /// All that was promised has come, and nothing else.
    fn reckon(&mut self) {
        let is_done = self.drain(SETTLED);
        assert!(is_done && self.model.faults().is_empty(), "{}", self.report());
        // What comes late comes before what is sent now, so another round shows repetitions.
        for _ in 0..3 {
            for client in &mut self.clients {
                for _ in 0..5 {
                    client.publish(&mut self.model, &mut self.random, false);
                }
            }
        }
        let is_done = self.drain(SETTLED);
        let Census { sent, acknowledged, delivered } = self.model.census();
        assert!(is_done && self.model.faults().is_empty(), "{}", self.report());
        eprintln!("{sent} messages sent, {acknowledged} of them acknowledged, {delivered} deliveries");
        if let Server::Hub(hub) = &self.server {
            self.compare_with_the_log(hub);
        }
    }

    fn report(&self) -> String {
        let missing = self.model.missing();
        let faults: Vec<_> =
            self.model.faults().iter().chain(&missing).take(20).map(|fault| format!("{fault:?}")).collect();
        let unsettled: Vec<_> = self.clients.iter().filter(|client| !client.is_settled()).collect();
        format!(
            "{} broken promises, {} messages missing; the first of them:\n{}\nnot settled: {unsettled:#?}",
            self.model.faults().len(),
            missing.len(),
            faults.join("\n")
        )
    }

    /// Whatever was acknowledged is in the log, whether anybody subscribed to it or not.
    fn compare_with_the_log(&self, hub: &Hub) {
        for client in &self.clients {
            let acknowledged = self.model.acknowledged_by(&client.name);
            let logged = numbers(hub, &client.name);
            let lost: Vec<_> =
                acknowledged.into_iter().filter(|number| logged.binary_search(number).is_err()).collect();
            assert!(lost.is_empty(), "acknowledged to {} and not in the log: {lost:?}", client.name);
        }
    }
}

/// The numbers of a publisher's messages in the log, in order.
fn numbers(hub: &Hub, publisher: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    for from in (0..).step_by(2_000) {
        let to = from + 2_000;
        let sql =
            format!("SELECT n FROM '{PRODUCT}/#' WHERE p = '{publisher}' AND n >= {from} AND n < {to} LIMIT 9000");
        let rows = hub.query(&sql);
        if rows.is_empty() {
            break;
        }
        numbers.extend(rows.iter().filter_map(|row| as_number(&row[0])));
    }
    numbers.sort_unstable();
    numbers
}

fn as_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().map(|number| number as u64)).or_else(|| value.as_str()?.parse().ok())
}

/// A key with these grants.
fn application(hub: &Hub, name: &str, subscribe: &str, publish: &str) -> Login {
    let made = hub.weir(&["create", "key", name, "--subscribe", subscribe, "--publish", publish, "-o", "json"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key: Value = serde_json::from_slice(&made.stdout).unwrap();
    let password = key["secret"].as_str().unwrap().to_owned();
    Login { client_id: name.to_owned(), username: name.to_owned(), password }
}

/// Four devices, which speak on their own topics and listen on them, and four applications, which listen to all of them
/// and speak to each. No two filters of one client match the same topic, so that a message is due once.
fn roles(mut device: impl FnMut(&str) -> Login, mut application: impl FnMut(&str, &str, &str) -> Login) -> Vec<Role> {
    let of = |device: &str, class: &str| format!("{PRODUCT}/{device}/{class}");
    let names = ["d0", "d1", "d2", "d3"];
    let versions = [Version::V311, Version::V5, Version::V311, Version::V5];
    let mut roles = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        roles.push(Role {
            login: device(name),
            version: versions[index],
            topics: vec![of(name, "event"), of(name, "data")],
            filters: vec![(of(name, "control"), index as u8 % 3), (of(name, "data"), 2)],
            receive_maximum: [100, 3, 100, 20][index],
        });
    }
    let listening = [
        vec![(of("+", "event"), 2), (of("d0", "data"), 1), (of("d1", "data"), 2), (of("d2", "control"), 1)],
        vec![(of("+", "event"), 1), (of("+", "data"), 2)],
        vec![(of("+", "data"), 2), (of("d0", "event"), 2), (of("d1", "event"), 0), (of("d3", "event"), 1)],
        vec![(format!("{PRODUCT}/d1/#"), 2), (of("d2", "event"), 2)],
    ];
    let all = format!("{PRODUCT}/#");
    for (index, filters) in listening.into_iter().enumerate() {
        let login = application(&format!("app{index}"), &all, &of("+", "control"));
        let topics = if index < 2 { names.map(|name| of(name, "control")).to_vec() } else { Vec::new() };
        let version = [Version::V5, Version::V311, Version::V5, Version::V31][index];
        roles.push(Role { login, version, topics, filters, receive_maximum: [2, 100, 10, 100][index] });
    }
    roles
}

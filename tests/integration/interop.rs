//! Real clients, which we did not write, each by every transport and version that it has: the same scenarios for all.
//!
//! `tests/interop` has the programs around the libraries, and says how they are told what to do.

pub(crate) mod library;
mod mosquitto;
mod rumqttc;
mod scenarios;
mod target;
mod vendor;

use self::{
    library::{Library, Program},
    rumqttc::Rumqttc,
    scenarios::{Case, SCENARIOS},
    target::{Target, Transport},
};

const PAHO: [(&str, &[Transport]); 2] = [
    ("3.1.1", &[Transport::Tcp, Transport::Tls, Transport::Certificate, Transport::Ws, Transport::Wss]),
    ("5", &[Transport::Tcp, Transport::Tls, Transport::Certificate, Transport::Ws, Transport::Wss]),
];
const NPM: [(&str, &[Transport]); 2] = [
    ("3.1.1", &[Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]),
    ("5", &[Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]),
];
const RUMQTTC: [(&str, &[Transport]); 2] = [("3.1.1", &[Transport::Tcp]), ("5", &[Transport::Tcp])];

#[test]
fn paho() {
    check(&Target::hub(), "paho", &mut Program::python("paho_client.py"), &PAHO);
}

#[test]
fn npm() {
    check(&Target::hub(), "npm", &mut Program::node("npm_client.mjs"), &NPM);
}

#[test]
fn rumqttc() {
    check(&Target::hub(), "rumqttc", &mut Rumqttc::default(), &RUMQTTC);
}

/// The scenarios ask for what MQTT says, and not for what the hub happens to do.
#[test]
fn another_server_passes_the_scenarios() {
    let table: [(&str, &[Transport]); 2] = [("3.1.1", &[Transport::Tcp]), ("5", &[Transport::Tcp])];
    check(&Target::mosquitto(), "paho", &mut Program::python("paho_client.py"), &table);
    check(&Target::mosquitto(), "npm", &mut Program::node("npm_client.mjs"), &table);
    check(&Target::mosquitto(), "rumqttc", &mut Rumqttc::default(), &table);
}

/// Runs every scenario, each with devices of its own, and tells all that failed at once.
fn check(target: &Target, name: &str, library: &mut dyn Library, table: &[(&str, &[Transport])]) {
    let mut failures = Vec::new();
    for (version, transports) in table {
        for transport in *transports {
            for scenario in SCENARIOS.iter().filter(|scenario| !scenario.needs_5 || *version == "5") {
                let label = format!("{name}-{}-{}-{}", transport.name(), version.replace('.', ""), scenario.name);
                let mut case = Case::new(library, target, *transport, version, &label);
                if let Err(failure) = (scenario.run)(&mut case) {
                    failures.push(format!("{label}: {failure}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} scenarios failed:\n{}", failures.len(), failures.join("\n"));
}

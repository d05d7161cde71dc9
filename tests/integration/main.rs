//! The hub as its users meet it: the real program on real files, spoken to by real clients.
//!
//! Each file beside this one is a story. `harness` holds what they share: it starts things, asks them, and takes them
//! down. Nothing here links the hub's code.

#![cfg(test)]

mod harness;

mod applications;
mod authentication;
mod broadcast;
mod chaos;
mod coap;
mod conformance;
mod errors;
mod four_protocols;
mod gateways;
mod http_devices;
mod interop;
mod isolation;
mod joins;
mod kills;
mod lake;
mod outage;
mod plugins;
mod policy;
mod powerloss;
mod registration;
mod rejection;
mod republish;
mod shadow_writers;
mod shadows;
mod shutdown;
mod story;
mod tables;
mod tls;
mod trace;
mod webhook;
mod websocket;
mod windows;

//! MQTT 3.1.1 and 5.0 statement by statement, at the wire.
//!
//! Every test names the statements that it shows: [MQTT-x.y.z-n] those of 3.1.1, [MQTT5-x.y.z-n] those of 5.0.
//! `tests/conformance/*.toml` lists all statements with their tests, and `tests/tidy/conformance.rs` holds one to the other.
//!
//! The tests share one hub. With `CONFORMANCE_PEER=PORT` they speak to another server on loopback that admits everybody:
//! a way to check the tests themselves. What only a hub of ours can be asked is then left out.
//!
//! Nothing here waits for nothing to happen: what must not come would have come before a message that is sent after it, as
//! messages keep their order.

mod alias;
mod client;
mod connect;
mod deliver;
mod disconnect;
mod flow;
mod groups;
mod malformed;
mod peer;
mod properties;
mod publish;
mod refusal;
mod retained;
mod session;
mod subscribe;
mod topics;
mod unsubscribe;
mod wills;

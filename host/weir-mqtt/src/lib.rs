//! The MQTT front-end: 3.1, 3.1.1 and 5 on one port, at QoS 0, 1 and 2.
//!
//! A codec ([`codec`]), a state machine without I/O ([`connection`]), the tasks that move bytes ([`serve`]), and one
//! table from error kinds to codes ([`codes`]). It decides nothing about authority, limits of sessions or routing: the
//! broker does, and keeps sessions, with their packet identifiers, between connections.
//!
//! Connections are plain, or encrypted by `weir_tls`, and on ports of their own by WebSocket over either. A device that
//! the handshake has proved, by certificate or by pre-shared key, is not asked for a password; whoever comes without
//! either shows one, as on a plain connection.
//!
//! Where the specifications leave a choice:
//! * Enhanced authentication is refused with reason code 0x8C: there is no method that the hub knows.
//! * A message that is not taken ends a connection of 3.1 and 3.1.1, which have no other way to say so. In MQTT 5 its
//!   PUBACK or PUBREC says why and the connection goes on; at QoS 0 it is dropped and counted.
//! * The keep-alive of 3.1 and 3.1.1 is honoured whatever its length, because they give a server no means to ask for a
//!   shorter one, and 0 is no keep-alive. Peers that vanish meanwhile are found by TCP keep-alive probes. A client of
//!   MQTT 5 that asks for none, or for a longer one than the hub's, is told to use the hub's.
//! * Topic aliases to a client are given to the first topics that it is sent, as many as it takes and the hub allows.
//! * A client of MQTT 5 that gives no name gets one also if it does not start clean.
//!
//! Architecture invariant: no input from the network makes this crate panic, and no PUBLISH, PUBREC or
//! PUBREL is answered before what it changes is durable.

mod admission;
mod client;
pub mod codec;
pub mod codes;
pub mod connection;
mod error;
mod listener;
mod refusals;
mod websocket;

pub use admission::Admission;
pub use error::ProtocolError;
pub use listener::{Transport, serve};
pub use websocket::{HttpAnswer, HttpBody, HttpRequests, WebSocketOptions};

//! The MQTT front-end: 3.1.1 and 3.1 at QoS 0 and 1.
//!
//! A codec ([`codec`]), a state machine without I/O ([`connection`]), the tasks that move bytes ([`serve`]), and one
//! table from error kinds to CONNACK codes. It decides nothing about authority, limits of sessions or routing: the
//! broker does.
//!
//! Connections are plain, or encrypted by `weir_tls`. A device that the handshake has proved, by certificate or by
//! pre-shared key, is not asked for a password; whoever comes without either shows one, as on a plain connection.
//!
//! What a client should know of this version:
//! * MQTT 5 is refused at CONNECT with reason code 0x84, so that clients fall back to 3.1.1.
//! * A PUBLISH at QoS 2 closes the connection. SUBSCRIBE grants at most QoS 1. A will may name QoS 2; it has no
//!   handshake of its own.
//! * The retain flag of a PUBLISH is recorded in the log, but no retained message is kept: a later subscriber gets
//!   nothing for it.
//! * Every session is clean, also with clean session 0: subscriptions end with the connection, and CONNACK never says
//!   that a session is present.
//! * The client's own keep-alive is honoured whatever its length, because 3.1.1 gives a server no means to ask for a
//!   shorter one, and 0 is no keep-alive. Peers that vanish meanwhile are found by TCP keep-alive probes.
//!
//! Architecture invariant: no input from the network makes this crate panic, and no QoS 1 PUBLISH is acknowledged
//! before it is durable.

mod admission;
mod client;
pub mod codec;
pub mod codes;
pub mod connection;
mod error;
mod listener;
mod refusals;

pub use admission::Admission;
pub use error::ProtocolError;
pub use listener::{Transport, serve};

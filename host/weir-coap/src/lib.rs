//! The CoAP front-end (RFC 7252), with block-wise transfers (RFC 7959) and observation (RFC 7641), over UDP and over DTLS.
//!
//! A codec ([`codec`]), a state machine for one peer without I/O ([`endpoint`]), what a request asks for ([`request`]),
//! the tasks that move datagrams ([`serve`], [`serve_dtls`]), and one table from error kinds to codes ([`codes`]). It decides
//! nothing about authority, limits of sessions or routing: the broker does, as for every other protocol.
//!
//! Where the specifications leave a choice:
//! * Over DTLS the handshake has proved the device, and nothing more is asked for. Over UDP each request shows a token of
//!   the device, as the query `token=…`. Nothing is kept of a peer that has shown none.
//! * A confirmable request that publishes is answered when the message is durable, any other when it is in the log.
//! * A notification is a message, not a state: all are sent, one after the other, and those at QoS 1 are confirmable.
//! * A peer that is silent is forgotten after a time; one that observes is asked (a ping) before.
//!
//! Architecture invariant: no input from the network makes this crate panic, and a datagram of a peer that has proved
//! nothing leaves nothing behind but counters.

mod admission;
pub mod codec;
pub mod codes;
mod encrypted;
pub mod endpoint;
mod listener;
mod peer;
pub mod request;
mod stranger;

pub use admission::PeerLimits;
pub use codec::block::exponent_within;
pub use encrypted::serve_dtls;
pub use endpoint::EndpointLimits;
pub use listener::{CoapOptions, Shared, serve};

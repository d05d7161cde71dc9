//! Bounds of what clients may take. Each is a counted, typed refusal when it is reached.

use std::time::Duration;

/// What one client, and all together, may take of the hub.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one message's payload.
    pub payload: usize,
    /// Open connections of all listeners for MQTT.
    pub connections: usize,
    /// Those from one address.
    pub connections_per_address: usize,
    /// Unacknowledged QoS 1 messages that the hub sends to one session before it waits.
    pub inflight: usize,
    /// Messages waiting for one session. Beyond it new ones are dropped and counted.
    pub inbox_messages: usize,
    /// Topic filters in one SUBSCRIBE.
    pub filters_per_subscribe: usize,
    /// Subscriptions of one session.
    pub subscriptions: usize,
    /// Time from accepting a connection to its CONNECT.
    pub handshake: Duration,
    /// Silence after which the operating system probes a connection whose client promised no keep-alive, or a longer one.
    pub keep_alive: Duration,
    /// How long a client may leave the hub's writes unread before it is disconnected.
    pub write_stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload: 256 * 1024,
            connections: 100_000,
            connections_per_address: 100_000,
            inflight: 100,
            inbox_messages: 100_000,
            filters_per_subscribe: 100,
            subscriptions: 1_000,
            handshake: Duration::from_secs(10),
            keep_alive: Duration::from_secs(900),
            write_stall: Duration::from_secs(30),
        }
    }
}

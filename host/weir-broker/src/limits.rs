//! Bounds of what clients may take. Each is a counted, typed refusal when it is reached.

use std::time::Duration;

use crate::{Rate, inbox::Bounds};

/// What one client, and all together, may take of the hub.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one message's payload.
    pub payload: usize,
    /// Open connections of all listeners for MQTT.
    pub connections: usize,
    /// Those from one address.
    pub connections_per_address: usize,
    /// New connections of all listeners for MQTT. Beyond it one is closed before a byte of it is read.
    pub connects: Option<Rate>,
    /// Those from one address.
    pub connects_per_address: Option<Rate>,
    /// Messages that one device publishes. Beyond it the device is not read from until the rate allows; nothing is lost.
    pub device_messages: Option<Rate>,
    /// Bytes of their topics and payloads; likewise.
    pub device_bytes: Option<Rate>,
    /// Unacknowledged QoS 1 and 2 messages that the hub sends to one session before it waits.
    pub inflight: u16,
    /// Unacknowledged QoS 1 and 2 messages that one client may have at the hub (Receive Maximum in CONNACK).
    pub receive_maximum: u16,
    /// Topic aliases that one connection may use, in each direction.
    pub topic_aliases: u16,
    /// Sessions kept, connected or not. Beyond it no new one is opened.
    pub sessions: usize,
    /// Those of one application's key.
    pub sessions_per_key: usize,
    /// Longest time that a session outlives its connection, whatever its client asks for.
    pub session_expiry: Duration,
    /// Messages waiting for one session. Beyond it new ones are dropped and counted.
    pub inbox_messages: usize,
    /// Bytes of the payloads of messages waiting for one session. Beyond it new ones are dropped and counted.
    pub inbox_bytes: u64,
    /// Age beyond which a message that waits for a session is dropped and counted.
    pub inbox_age: Duration,
    /// Retained messages of all topics. Beyond it a new topic's message is not retained, and counted.
    pub retained_messages: usize,
    /// Bytes of all retained messages, likewise.
    pub retained_bytes: usize,
    /// Topic filters in one SUBSCRIBE.
    pub filters_per_subscribe: usize,
    /// Subscriptions of one session.
    pub subscriptions: usize,
    /// Topic classes that one product may have beside the defaults.
    pub topics_per_product: usize,
    /// Bytes of one shadow: what it reports and what is desired, as JSON.
    pub shadow_bytes: usize,
    /// Named shadows of one device, those that were deleted included: their versions go on.
    pub shadow_names: usize,
    /// Bytes of memory for shadows that were used lately, about. Beyond it they are read from the store again.
    pub shadow_cache: usize,
    /// Calls to devices that wait for their answers.
    pub calls: usize,
    /// Broadcasts that run at one time, one for each product.
    pub broadcasts: u32,
    /// Bytes of a broadcast's payload: each device has a copy of it in the log.
    pub broadcast_bytes: usize,
    /// Messages of all broadcasts together.
    pub broadcast_messages: Option<Rate>,
    /// Devices that register with their product's secret, all together. Beyond it one is told to try again.
    pub registrations: Option<Rate>,
    /// Devices that are bound to one gateway.
    pub sub_devices: usize,
    /// Products of the devices that are bound to gateways of one product.
    pub sub_products: usize,
    /// Devices in one request of a gateway.
    pub gateway_devices: usize,
    /// How far the time in the signature by which a device is bound may be from now.
    pub bind_signature_age: Duration,
    /// Time from accepting a connection to its CONNECT.
    pub handshake: Duration,
    /// Silence after which the operating system probes a connection whose client promised no keep-alive, or a longer one.
    pub keep_alive: Duration,
    /// How long a client may leave the hub's writes unread before it is disconnected.
    pub write_stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
        Self {
            payload: 256 * 1024,
            connections: 100_000,
            connections_per_address: 100_000,
            connects: Rate::new(5_000, 100_000),
            connects_per_address: Rate::new(1_000, 20_000),
            device_messages: Rate::new(1_000, 10_000),
            device_bytes: Rate::new(1 << 20, 16 << 20),
            inflight: 100,
            receive_maximum: 1_000,
            topic_aliases: 16,
            sessions: 200_000,
            sessions_per_key: 10_000,
            session_expiry: WEEK,
            inbox_messages: 100_000,
            inbox_bytes: 64 << 20,
            inbox_age: WEEK,
            retained_messages: 1_000_000,
            retained_bytes: 256 << 20,
            filters_per_subscribe: 100,
            subscriptions: 1_000,
            topics_per_product: 100,
            shadow_bytes: 16 << 10,
            shadow_names: 32,
            shadow_cache: 64 << 20,
            calls: 1_000,
            broadcasts: 16,
            broadcast_bytes: 8 << 10,
            broadcast_messages: Rate::new(10_000, 10_000),
            registrations: Rate::new(100, 1_000),
            sub_devices: 1_500,
            sub_products: 10,
            gateway_devices: 100,
            bind_signature_age: Duration::from_secs(600),
            handshake: Duration::from_secs(10),
            keep_alive: Duration::from_secs(900),
            write_stall: Duration::from_secs(30),
        }
    }
}

impl Limits {
    pub(crate) fn inbox(&self) -> Bounds {
        Bounds {
            messages: self.inbox_messages,
            bytes: self.inbox_bytes,
            age: i64::try_from(self.inbox_age.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

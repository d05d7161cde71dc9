//! CONNACK.

use super::{
    Terms, Unwritable, fixed_header, packet_size,
    properties::{Length, Sink, fits},
    variable, variable_size,
};
use crate::{codec::properties::id, codes::Reason};

/// The answer to a CONNECT of MQTT 5. The specification's own values are said by saying nothing, as in the default.
#[derive(Debug, Clone, Copy)]
pub struct ConnAck<'a> {
    /// Never with a failure [MQTT5-3.2.2-6].
    pub session_present: bool,
    pub reason: Reason,
    /// Seconds that the session is kept, if not those asked for.
    pub session_expiry: Option<u32>,
    /// Unacknowledged QoS 1 and 2 messages that the hub takes.
    pub receive_maximum: Option<u16>,
    /// Bytes of a packet that the hub takes.
    pub max_packet_size: Option<u32>,
    /// The name of a client that did not name itself [MQTT5-3.1.3-7].
    pub assigned_client_id: Option<&'a str>,
    /// The highest topic alias that the hub takes; 0: none.
    pub topic_alias_maximum: u16,
    /// Seconds to be used as keep-alive in place of those asked for [MQTT5-3.1.2-21].
    pub server_keep_alive: Option<u16>,
    /// For a person to read. Left out like every reason string where it does not fit.
    pub reason_string: Option<&'a str>,
    pub wildcards: bool,
    pub subscription_identifiers: bool,
    pub shared_subscriptions: bool,
}

impl Default for ConnAck<'_> {
    fn default() -> Self {
        Self {
            session_present: false,
            reason: Reason::Success,
            session_expiry: None,
            receive_maximum: None,
            max_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            server_keep_alive: None,
            reason_string: None,
            wildcards: true,
            subscription_identifiers: true,
            shared_subscriptions: true,
        }
    }
}

impl ConnAck<'_> {
    /// A refusal, after which the connection is closed [MQTT5-3.2.2-7].
    pub fn refusal(reason: Reason) -> Self {
        Self { reason, ..Self::default() }
    }

    fn describe(&self, sink: &mut impl Sink) {
        if let Some(seconds) = self.session_expiry {
            sink.long(id::SESSION_EXPIRY, seconds);
        }
        if let Some(maximum) = self.receive_maximum {
            sink.number(id::RECEIVE_MAXIMUM, maximum);
        }
        if let Some(size) = self.max_packet_size {
            sink.long(id::MAXIMUM_PACKET_SIZE, size);
        }
        if let Some(name) = self.assigned_client_id {
            sink.bytes(id::ASSIGNED_CLIENT_ID, name.as_bytes());
        }
        if self.topic_alias_maximum > 0 {
            sink.number(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        }
        if let Some(text) = self.reason_string {
            sink.bytes(id::REASON_STRING, text.as_bytes());
        }
        for (available, id) in [
            (self.wildcards, id::WILDCARDS_AVAILABLE),
            (self.subscription_identifiers, id::IDENTIFIERS_AVAILABLE),
            (self.shared_subscriptions, id::SHARING_AVAILABLE),
        ] {
            if !available {
                sink.byte(id, 0);
            }
        }
        if let Some(seconds) = self.server_keep_alive {
            sink.number(id::SERVER_KEEP_ALIVE, seconds);
        }
    }

    fn lengths(&self) -> (usize, usize) {
        let mut properties = Length::default();
        self.describe(&mut properties);
        (properties.0, 2 + variable_size(properties.0) + properties.0)
    }
}

/// CONNACK of MQTT 5. Fails if the client does not take a packet of that size; it cannot be served then.
pub fn connack(out: &mut Vec<u8>, terms: &Terms, answer: &ConnAck<'_>) -> Result<(), Unwritable> {
    let mut answer = *answer;
    answer.reason_string = answer.reason_string.filter(|text| terms.problem_information && fits(text.as_bytes()));
    // [MQTT5-3.2.2-19]
    if !terms.takes(packet_size(answer.lengths().1)) {
        answer.reason_string = None;
    }
    let (properties, remaining) = answer.lengths();
    let size = packet_size(remaining);
    if !terms.takes(size) {
        return Err(Unwritable::TooLarge { size });
    }
    if !fits(answer.assigned_client_id.unwrap_or_default().as_bytes()) {
        return Err(Unwritable::Format);
    }
    let present = answer.session_present && !answer.reason.is_failure();
    fixed_header(out, 0x20, remaining);
    out.extend_from_slice(&[u8::from(present), answer.reason as u8]);
    variable(out, properties);
    answer.describe(out);
    Ok(())
}

/// CONNACK of 3.1 and 3.1.1, with a code of `codes::connack`; 0 is success.
pub fn connack_before_5(out: &mut Vec<u8>, session_present: bool, code: u8) {
    // [MQTT-3.2.2-4]
    out.extend_from_slice(&[0x20, 2, u8::from(session_present && code == 0), code]);
}

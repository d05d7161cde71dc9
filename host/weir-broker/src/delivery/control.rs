//! Facts about sessions in the log: control records, and what they say.
//!
//! The session's key is the record's `session`, a subscription's filter its `topic`, and the rest is JSON in its payload.

use serde::{Deserialize, Serialize};
use weir_core::{
    Qos, RetainHandling, Subscription, SubscriptionFilter,
    schema::{Kind, Records, optional_text},
};
use weir_log::Record;

use crate::session::SessionKey;

/// A connection has opened a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) connection: u64,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    /// Seconds.
    pub(crate) expiry: u32,
}

/// A connection of a session that is kept has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Closed {
    pub(crate) connection: u64,
    /// Seconds, if they are others from now on.
    pub(crate) expiry: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Options {
    /// `None`: whichever connection has the session.
    connection: Option<u64>,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    identifier: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Connection {
    connection: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identifier {
    packet_id: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Number {
    number: u64,
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Opened(Opened),
    Closed(Closed),
    /// It was kept for as long as it asked for. The connection is the last it had.
    Expired {
        connection: u64,
    },
    Cleared,
    Subscribed {
        connection: Option<u64>,
        subscription: Subscription,
    },
    Unsubscribed {
        connection: Option<u64>,
        filter: SubscriptionFilter,
    },
    /// Its client has taken the QoS 2 message of this number.
    Received(u64),
    /// Its client has released the identifier of a QoS 2 message that it published.
    Released(u16),
}

/// A control record, owned.
#[derive(Debug, Clone)]
pub(crate) struct ControlRecord {
    kind: Kind,
    key: SessionKey,
    topic: String,
    payload: Vec<u8>,
}

impl ControlRecord {
    pub(crate) fn new(key: &SessionKey, change: &Change) -> Self {
        let (kind, topic, payload) = match change {
            Change::Opened(opened) => (Kind::SessionOpened, String::new(), json(opened)),
            Change::Closed(closed) => (Kind::SessionClosed, String::new(), json(closed)),
            Change::Expired { connection } => {
                (Kind::SessionExpired, String::new(), json(&Connection { connection: Some(*connection) }))
            }
            Change::Cleared => (Kind::SessionCleared, String::new(), Vec::new()),
            Change::Subscribed { connection, subscription } => {
                let options = Options {
                    connection: *connection,
                    qos: subscription.qos as u8,
                    no_local: subscription.no_local,
                    retain_as_published: subscription.retain_as_published,
                    retain_handling: subscription.retain_handling as u8,
                    identifier: subscription.identifier,
                };
                (Kind::Subscribed, subscription.filter.to_string(), json(&options))
            }
            Change::Unsubscribed { connection, filter } => {
                (Kind::Unsubscribed, filter.to_string(), json(&Connection { connection: *connection }))
            }
            Change::Received(number) => (Kind::Received, String::new(), json(&Number { number: *number })),
            Change::Released(packet_id) => (Kind::Released, String::new(), json(&Identifier { packet_id: *packet_id })),
        };
        Self { kind, key: key.clone(), topic, payload }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record::Control {
            kind: self.kind,
            session: Some(self.key.as_str()),
            topic: &self.topic,
            payload: &self.payload,
        }
    }

    /// What a control record says, and of which session. `None` if it is of another kind, or not one of this version's.
    pub(crate) fn read(records: &Records, row: usize) -> Option<(SessionKey, Change)> {
        let key = SessionKey::parse(optional_text(&records.session, row)?);
        let payload = records.payload.value(row);
        let change = match Kind::from_u8(records.kind.value(row))? {
            Kind::SessionOpened => Change::Opened(parse(payload)?),
            Kind::SessionClosed => Change::Closed(parse(payload)?),
            Kind::SessionExpired => Change::Expired { connection: parse::<Connection>(payload)?.connection? },
            Kind::SessionCleared => Change::Cleared,
            Kind::Subscribed => {
                let options: Options = parse(payload)?;
                let subscription = Subscription {
                    filter: records.topic.value(row).parse().ok()?,
                    qos: Qos::from_u8(options.qos)?,
                    no_local: options.no_local,
                    retain_as_published: options.retain_as_published,
                    retain_handling: RetainHandling::from_u8(options.retain_handling)?,
                    identifier: options.identifier,
                };
                Change::Subscribed { connection: options.connection, subscription }
            }
            Kind::Unsubscribed => Change::Unsubscribed {
                connection: parse::<Connection>(payload)?.connection,
                filter: records.topic.value(row).parse().ok()?,
            },
            Kind::Received => Change::Received(parse::<Number>(payload)?.number),
            Kind::Released => Change::Released(parse::<Identifier>(payload)?.packet_id),
            Kind::Message | Kind::Tick | Kind::Completed => return None,
        };
        Some((key, change))
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Plain structs: nothing in them can fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn parse<T: for<'a> Deserialize<'a>>(payload: &[u8]) -> Option<T> {
    serde_json::from_slice(payload).ok()
}

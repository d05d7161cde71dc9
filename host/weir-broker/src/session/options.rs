//! What a client asks of its session, and what it is told.

use std::fmt;

use weir_core::{
    Classify, Denied, DeviceId, ErrorKind, Fingerprint, OwnedMessage, Principal, Protocol, Timestamp,
    seams::PeerIdentity,
};

use crate::{inbox::ledger::DroppedCounts, outbound::Outbound};

#[derive(Debug, Clone)]
pub struct SessionOptions {
    pub client_id: String,
    pub protocol: Protocol,
    /// Whether to start without the state that an earlier connection left (Clean Start, clean session).
    pub clean_start: bool,
    /// Seconds that the session is kept when the connection is gone; 0: not at all, the largest: as long as the hub
    /// keeps any.
    pub expiry: u32,
    /// Messages at QoS 1 and 2 that the client takes without acknowledging one (Receive Maximum).
    pub receive_maximum: u16,
    pub will: Option<Will>,
    /// What the transport proved: a connection that came by a certificate ends when that is believed no more.
    pub peer: PeerIdentity,
}

/// What is published for a client whose connection ends without its word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub message: OwnedMessage,
    /// Seconds to wait for the client to come back, if its session is kept as long.
    pub delay: u32,
}

/// Why the hub ends a session's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Another connection of the same device or client id.
    TakenOver,
    /// The device, its product, token, certificate or key was disabled, revoked or deleted.
    Disabled,
    Draining,
    /// The session itself was ended.
    Ended,
}

/// How a session's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client said so. Its will is discarded, unless it asked for it.
    Disconnected {
        with_will: bool,
        /// Seconds to keep the session, instead of those it asked for first.
        expiry: Option<u32>,
    },
    /// The network went away.
    Lost,
    /// The client was silent for too long.
    KeepAlive,
    /// The hub ended it: the client broke a rule, or the hub is draining.
    Refused,
}

/// The next thing for a connection to do.
#[derive(Debug)]
pub enum SessionEvent {
    Deliver(Outbound),
    /// PUBRELs to be sent again, in this order: an earlier connection may have left before it sent them.
    Release(Vec<u16>),
    Close(CloseReason),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the hub is draining")]
    Draining,
    #[error("the will is refused: {0}")]
    Will(#[source] Denied),
    #[error("the will's payload of {size} bytes exceeds the limit of {limit}")]
    WillTooLarge { size: usize, limit: usize },
    #[error("{limit} sessions are kept, as many as may be: end some, ask for none to be kept, or raise {setting}")]
    TooMany { limit: usize, setting: &'static str },
    #[error("another connection of the same client came meanwhile")]
    TakenOver,
    #[error("the session cannot be written to the log: {0}")]
    Log(String),
}

impl Classify for SessionError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Will(_) => ErrorKind::Forbidden,
            Self::WillTooLarge { .. } => ErrorKind::TooLarge,
            Self::TooMany { .. } => ErrorKind::Throttled,
            Self::Draining | Self::TakenOver | Self::Log(_) => ErrorKind::Unavailable,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("a session may hold at most {limit} subscriptions")]
    TooMany { limit: usize },
    #[error("the subscription cannot be written to the log: {0}")]
    Log(String),
    #[error("the session has ended")]
    Ended,
}

impl Classify for SubscribeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied(_) => ErrorKind::Forbidden,
            Self::TooMany { .. } => ErrorKind::Throttled,
            Self::Log(_) | Self::Ended => ErrorKind::Unavailable,
        }
    }
}

/// What an operator sees of a session: `enqueued = acknowledged + expired + dropped + pending`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SessionStatus {
    pub client_id: String,
    /// `None`: it is kept and its client is away.
    pub protocol: Option<&'static str>,
    pub connected_at: Option<Timestamp>,
    /// By which the client came, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Fingerprint>,
    pub offline_since: Option<Timestamp>,
    /// Seconds that it is kept without a connection.
    pub expiry: u32,
    pub subscriptions: Vec<String>,
    pub enqueued: u64,
    pub acknowledged: u64,
    pub expired: u64,
    pub dropped: u64,
    pub dropped_by: DroppedCounts,
    pub pending: u64,
}

/// What makes two connections the same session. Its text is kept in the log and in the store.
///
/// A device is one whatever its client id; a key has a session for each client id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey(std::sync::Arc<str>);

impl SessionKey {
    pub(crate) fn of(principal: &Principal, client_id: &str) -> Self {
        match principal {
            Principal::Device(_) => Self(principal.to_string().into()),
            _ => Self(format!("{principal} {client_id}").into()),
        }
    }

    pub(crate) fn of_device(device: &DeviceId) -> Self {
        Self(format!("device:{device}").into())
    }

    /// The session that published a message: its publisher's, with this client id.
    pub(crate) fn of_publisher(publisher: &str, client_id: &str) -> Self {
        if publisher.starts_with("device:") {
            Self(publisher.into())
        } else {
            Self(format!("{publisher} {client_id}").into())
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The device whose session it is, if it is one's.
    pub(crate) fn device(&self) -> Option<DeviceId> {
        self.0.strip_prefix("device:")?.parse().ok()
    }

    /// The text of the principal whose session it is.
    pub(crate) fn owner(&self) -> &str {
        self.0.split_once(' ').map_or(&*self.0, |(owner, _)| owner)
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

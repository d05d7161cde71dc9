//! Why a connection ended: what its session, the counters and a client of MQTT 5 are told of it.

use std::io;

use weir_broker::{CloseReason, Metrics, PublishError};
use weir_core::Classify;

use crate::{
    ProtocolError,
    codec::write::Unwritable,
    codes::{self, Reason},
    connection::Leave,
};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client disconnected")]
    Disconnected(Leave),
    #[error("the client closed the connection")]
    Closed,
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    #[error("protocol violated: {0}")]
    Protocol(#[from] ProtocolError),
    /// Counted where it was refused.
    #[error("CONNECT was refused")]
    Refused,
    #[error("a PUBLISH was refused: {0}")]
    Publish(#[from] PublishError),
    #[error("the client takes no answer to what it asked: {0}")]
    Unanswerable(#[from] Unwritable),
    #[error("the client left what was sent to it unread for too long")]
    Stalled,
    #[error("the session was taken over by another connection")]
    TakenOver,
    #[error("the device or its key was disabled")]
    Disabled,
    #[error("the session was ended")]
    SessionEnded,
    #[error("the hub is going down")]
    Draining,
}

impl End {
    /// Counts what the hub ended, and says it in the log for whoever looks for one device.
    pub(super) fn count(&self, metrics: &Metrics) {
        let reason = match self {
            Self::Disconnected(_) | Self::Closed | Self::Lost(_) | Self::Refused | Self::Draining => None,
            Self::Protocol(error) => Some(error.reason()),
            Self::Publish(error) => Some(match error {
                PublishError::Full => "log_full",
                PublishError::Failed => "log_failed",
                error => error.kind().as_str(),
            }),
            Self::Unanswerable(_) => Some("answer_too_large"),
            Self::Stalled => Some("write_stall"),
            Self::TakenOver => Some("taken_over"),
            Self::Disabled => Some("disabled"),
            Self::SessionEnded => Some("session_ended"),
        };
        if let Some(reason) = reason {
            metrics.refused_for("mqtt_connection", reason);
        }
        tracing::debug!(reason = %self, "mqtt connection ended");
    }

    pub(super) fn seen_by_session(&self) -> weir_broker::End {
        match self {
            Self::Disconnected(leave) => {
                weir_broker::End::Disconnected { with_will: leave.with_will, expiry: leave.session_expiry }
            }
            Self::Protocol(ProtocolError::KeepAlive) => weir_broker::End::KeepAlive,
            Self::Closed | Self::Lost(_) => weir_broker::End::Lost,
            _ => weir_broker::End::Refused,
        }
    }

    /// What the hub says in DISCONNECT; nothing if nobody is there to hear it.
    pub(super) fn seen_by_client(&self) -> Option<Reason> {
        Some(match self {
            Self::Disconnected(_) | Self::Closed | Self::Lost(_) | Self::Refused => return None,
            Self::Protocol(error) => codes::violation_reason(*error),
            Self::Publish(error) => codes::disconnect_reason(error.kind()),
            Self::Unanswerable(_) => Reason::PacketTooLarge,
            Self::Stalled => Reason::Unspecified,
            Self::TakenOver => Reason::SessionTakenOver,
            Self::Disabled | Self::SessionEnded => Reason::Administrative,
            Self::Draining => Reason::ServerShuttingDown,
        })
    }

    /// Whether the connection is gone already.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Closed | Self::Lost(_))
    }
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TakenOver => Self::TakenOver,
            CloseReason::Disabled => Self::Disabled,
            CloseReason::Draining => Self::Draining,
            CloseReason::Ended => Self::SessionEnded,
        }
    }
}

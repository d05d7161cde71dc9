//! One connected client: its socket, its state machine and its session, in one task.
//!
//! An idle client holds no buffer: chunks to read into and to write from are borrowed from the thread that runs it.

mod buffers;
mod handshake;
mod traffic;
mod wire;

#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use weir_broker::{Broker, CloseReason, Metrics, PublishError};
use weir_core::{Classify, seams::PeerIdentity};

use crate::{ProtocolError, admission::Place};
use wire::Wire;

/// How long a will may wait for room in the log.
const WILL_PATIENCE: Duration = Duration::from_secs(5);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client disconnected")]
    Disconnected,
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
    #[error("the client left what was sent to it unread for too long")]
    Stalled,
    #[error("the session was taken over by another connection")]
    TakenOver,
    #[error("the device or its key was disabled")]
    Disabled,
    #[error("the hub is going down")]
    Draining,
}

/// Serves one connection to its end. `peer` is what its transport has proved.
pub(crate) async fn run<S>(io: S, peer: PeerIdentity, broker: Broker, stop: CancellationToken, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(io);
    let end = match handshake::open(&mut wire, peer, &broker, &stop, &place).await {
        Ok(mut client) => {
            let end = client.serve(&mut wire, &stop).await;
            client.session.ended(end.seen_by_session());
            // [MQTT-3.1.2-8], [MQTT-3.1.2-10]: the will goes out on every end but DISCONNECT.
            if !matches!(end, End::Disconnected) {
                client.publish_will().await;
            }
            end
        }
        Err(end) => end,
    };
    end.count(broker.metrics());
    if !matches!(end, End::Closed | End::Lost(_)) {
        wire.close().await;
    }
}

impl End {
    /// Counts what the hub ended, and says it in the log for whoever looks for one device.
    fn count(&self, metrics: &Metrics) {
        let reason = match self {
            Self::Disconnected | Self::Closed | Self::Lost(_) | Self::Refused | Self::Draining => None,
            Self::Protocol(error) => Some(error.reason()),
            Self::Publish(error) => Some(match error {
                PublishError::Full => "log_full",
                PublishError::Failed => "log_failed",
                error => error.kind().as_str(),
            }),
            Self::Stalled => Some("write_stall"),
            Self::TakenOver => Some("taken_over"),
            Self::Disabled => Some("disabled"),
        };
        if let Some(reason) = reason {
            metrics.refused_for("mqtt_connection", reason);
        }
        tracing::debug!(reason = %self, "mqtt connection ended");
    }
}

impl End {
    fn seen_by_session(&self) -> weir_broker::End {
        match self {
            Self::Protocol(ProtocolError::KeepAlive) => weir_broker::End::KeepAlive,
            Self::Disconnected | Self::Closed | Self::Lost(_) => weir_broker::End::Disconnected,
            _ => weir_broker::End::Refused,
        }
    }
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TakenOver => Self::TakenOver,
            CloseReason::Disabled => Self::Disabled,
            CloseReason::Draining | CloseReason::Ended => Self::Draining,
        }
    }
}

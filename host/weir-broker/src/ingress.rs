//! The door: authority, syntax and size are checked here, once, for every front-end.

use tokio::time::Instant;
use weir_core::{Classify, Denied, Envelope, ErrorKind, Offset, Principal, topic::TopicError};
use weir_log::{AppendError, Log, Record};

use crate::{
    Limits, Metrics,
    policy::{KnownTopic, PolicyInForce},
    trace::{Happening, Happenings, Refused},
};

/// Why a message was not accepted. Nothing of the batch it came in was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A gateway speaks for a device that has left it, by its topic. It may go on for the others.
    #[error("the device of {topic:?} is not online through this gateway")]
    NotThrough { topic: String },
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error("payload of {size} bytes exceeds the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    /// The pending group is full: wait for `Log::ready` and try again. Nothing is wrong.
    #[error("the log is busy")]
    Busy,
    /// The client publishes faster than it may. One message: try again at `until`, and read nothing from the client before.
    /// Several: offer them one by one, as for any refusal; then the first ones may pass. Nothing is wrong.
    #[error("the client publishes faster than it may")]
    Paced { until: Instant },
    #[error(
        "the log has reached its size limit and may drop nothing; raise log.max_bytes or find the reader that lags"
    )]
    Full,
    #[error("the log has failed; the hub is going down")]
    Failed,
    /// Taken over, disabled, or the hub is draining: the session says which.
    #[error("the session has ended")]
    Ended,
}

impl Classify for PublishError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied(_) | Self::NotThrough { .. } => ErrorKind::Forbidden,
            Self::Topic(_) => ErrorKind::Invalid,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Busy | Self::Paced { .. } | Self::Full => ErrorKind::Throttled,
            Self::Failed | Self::Ended => ErrorKind::Unavailable,
        }
    }
}

impl From<AppendError> for PublishError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Busy => Self::Busy,
            AppendError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            AppendError::Full => Self::Full,
            AppendError::Failed => Self::Failed,
        }
    }
}

/// Accepts messages into the log.
#[derive(Debug, Clone)]
pub(crate) struct Ingress {
    pub(crate) log: Log,
    pub(crate) policy: PolicyInForce,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) happenings: Happenings,
}

impl Ingress {
    /// Checks and appends: all messages or none, in order. Returns the offset of the last, which is not durable yet.
    ///
    /// A refusal is counted when one message is refused; whoever is refused a batch tries its messages one by one.
    ///
    /// `known` is for the one `principal`, and for calls with that alone.
    pub(crate) fn accept(
        &self,
        principal: &Principal,
        messages: &[Envelope<'_>],
        known: &mut KnownTopic,
    ) -> Result<Offset, PublishError> {
        let appended = self.check(principal, messages, known).and_then(|()| {
            let records: Vec<Record<'_>> = messages.iter().copied().map(Record::Message).collect();
            Ok(self.log.try_append(&records)?)
        });
        match appended {
            Ok(first) => {
                for message in messages {
                    self.metrics.accepted(message.protocol, message.qos, message.payload.len());
                }
                Ok(first.plus(messages.len().saturating_sub(1) as u64))
            }
            Err(error) => {
                if error != PublishError::Busy && messages.len() == 1 {
                    self.metrics.refused("publish", error.kind());
                    self.tell_refused(principal, messages, &error);
                }
                Err(error)
            }
        }
    }

    fn tell_refused(&self, principal: &Principal, messages: &[Envelope<'_>], error: &PublishError) {
        for message in messages {
            self.happenings.tell(|| {
                let (topic, publisher) = (message.topic.to_owned(), principal.to_string());
                Happening::Refused(Refused { topic, publisher, reason: error.to_string() })
            });
        }
    }

    fn check(
        &self,
        principal: &Principal,
        messages: &[Envelope<'_>],
        known: &mut KnownTopic,
    ) -> Result<(), PublishError> {
        let version = self.policy.version();
        for message in messages {
            let (size, limit) = (message.payload.len(), self.limits.payload);
            if size > limit {
                return Err(PublishError::TooLarge { size, limit });
            }
            self.policy.may_publish(principal, message.topic, known, version)?;
        }
        Ok(())
    }
}

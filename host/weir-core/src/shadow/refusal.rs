//! Why a request to a shadow is not done, and the number that says so in an answer.

use super::MAX_DEPTH;
use crate::{Classify, ErrorKind};

/// The vendor's documents name 5005 alone; clients take every other number than 0 for "refused". The rest are ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the request is not valid: {reason}")]
    Malformed { reason: String },
    #[error("a state may be nested {MAX_DEPTH} levels deep, and this one is {depth}")]
    TooDeep { depth: usize },
    #[error("the shadow would have {size} bytes, and may have {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("the device has {limit} named shadows, the most it may have")]
    TooMany { limit: usize },
    #[error("the request is for version {given}, and the shadow is at version {version}")]
    Conflict { given: u64, version: u64 },
}

impl Refusal {
    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed { reason: reason.into() }
    }

    /// The value of `result` in an answer.
    pub fn code(&self) -> u32 {
        match self {
            Self::Malformed { .. } => 5001,
            Self::TooDeep { .. } => 5002,
            Self::TooLarge { .. } => 5003,
            Self::TooMany { .. } => 5004,
            Self::Conflict { .. } => 5005,
        }
    }
}

impl Classify for Refusal {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed { .. } | Self::TooDeep { .. } => ErrorKind::Invalid,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::TooMany { .. } => ErrorKind::Throttled,
            Self::Conflict { .. } => ErrorKind::Conflict,
        }
    }
}

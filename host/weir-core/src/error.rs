//! What kinds of failure there are, so that each front-end maps them to its protocol in one table.

use std::fmt;

/// The closed list of failures. A front-end maps each to one wire code; nothing else decides codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed or contradicts itself; repeating it cannot help.
    Invalid,
    /// Nobody showed who is asking, or the proof was wrong.
    Unauthenticated,
    /// The asker is known and may not do this.
    Forbidden,
    NotFound,
    /// The state of the thing does not allow it: it exists already, or its version moved on.
    Conflict,
    TooLarge,
    /// A named limit was reached; later it may work.
    Throttled,
    /// The hub or something behind it cannot serve now.
    Unavailable,
    /// A defect of the hub.
    Internal,
}

impl ErrorKind {
    /// The word used in REST bodies, logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that knows its kind.
pub trait Classify: std::error::Error {
    fn kind(&self) -> ErrorKind;
}

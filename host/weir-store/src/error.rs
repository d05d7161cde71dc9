//! What can go wrong, by operation: opening, and everything after.

use std::{io, path::PathBuf};

use rusqlite::{Error, ErrorCode};
use weir_core::{Classify, ErrorKind, Fingerprint};

/// Why a store does not open. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use {path}: {error}", path = path.display())]
    File {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{path} is damaged ({reason}): restore it from a backup, or move it away to start with an empty store", path = path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{path} has format version {found} and this program knows versions up to {known}: run the newer program again, or restore a backup made before it", path = path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("others may read {path} (mode {mode:03o}): run `chmod 600 {path}`, and replace the secrets if others did", path = path.display())]
    KeyExposed { path: PathBuf, mode: u32 },
    #[error("{path} is missing or is not the key of this store: restore it from a backup; no secret can be read without it", path = path.display())]
    KeyLost { path: PathBuf },
    #[error("cannot open {path}: {reason}", path = path.display())]
    Failed { path: PathBuf, reason: String },
}

/// Why a read or a write failed. Holds no secret and no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{what} {name:?} exists already")]
    Exists { what: &'static str, name: String },
    #[error("there is no {what} {name:?}")]
    Missing { what: &'static str, name: String },
    #[error("product {product} still has {devices} device(s): delete them first")]
    ProductInUse { product: String, devices: u64 },
    #[error("device {device} has {limit} valid tokens, the most it may have: revoke its tokens first")]
    TooManyTokens { device: String, limit: u32 },
    #[error("{of} has {limit} {what}, the most it may have: delete some first")]
    TooMany { what: &'static str, of: String, limit: u32 },
    #[error("product {product} has {limit} topic classes of its own, the most it may have: delete one first")]
    TooManyTopics { product: String, limit: usize },
    #[error("device {0} is no gateway: its product must be of that type, which is said when it is made")]
    NotGateway(String),
    #[error("device {0} is a gateway, and cannot be bound to another")]
    IsGateway(String),
    #[error("device {0} is bound to another gateway: unbind it there first")]
    BoundElsewhere(String),
    #[error(
        "certificate {fingerprint} is an authority of product {product}, which revoking would not end: delete the authority"
    )]
    IsAuthority { fingerprint: Fingerprint, product: String },
    #[error("{what} of {size} bytes exceeds the limit of {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    #[error("the disk that holds the store is full: free some space")]
    Full,
    #[error("the store is damaged ({0}): restore it from a backup")]
    Damaged(String),
    #[error("the store failed: {0}")]
    Failed(String),
    #[error("the store is closed")]
    Closed,
    /// A defect of this crate, caught so that the writer goes on.
    #[error("a write to the store panicked")]
    Panicked,
}

impl Classify for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Exists { .. }
            | Self::ProductInUse { .. }
            | Self::NotGateway(_)
            | Self::IsGateway(_)
            | Self::IsAuthority { .. }
            | Self::BoundElsewhere(_) => ErrorKind::Conflict,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::TooManyTokens { .. } | Self::TooManyTopics { .. } | Self::TooMany { .. } => ErrorKind::Throttled,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Full | Self::Failed(_) | Self::Closed => ErrorKind::Unavailable,
            Self::Damaged(_) | Self::Panicked => ErrorKind::Internal,
        }
    }
}

impl StoreError {
    pub(crate) fn missing(what: &'static str, name: impl ToString) -> Self {
        Self::Missing { what, name: name.to_string() }
    }

    pub(crate) fn exists(what: &'static str, name: impl ToString) -> Self {
        Self::Exists { what, name: name.to_string() }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match (&error, error.sqlite_error_code()) {
            (_, Some(ErrorCode::DiskFull)) => Self::Full,
            (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) => Self::Damaged(error.to_string()),
            // A value that this crate wrote and cannot read again.
            (
                Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::Utf8Error(..),
                _,
            ) => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

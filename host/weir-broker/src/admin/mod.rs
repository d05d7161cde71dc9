//! What an administrator does to products, topic classes, devices, registrations, gateways, tokens, certificates, keys,
//! secrets, plugins and dead letters.
//!
//! Every management API is made of these functions, so that what is checked is checked once. They take the
//! [`Broker`](crate::Broker), because to take a right away is also to end the live sessions that rest on it.
//!
//! Absent: whether the caller may do it. An API lets only administrators in.

pub mod authorities;
pub mod certificates;
pub mod dead_letters;
pub mod devices;
pub mod gateways;
pub mod indexes;
pub mod keys;
pub mod plugins;
pub mod products;
pub mod registrations;
pub mod secrets;
pub mod sinks;
pub mod tokens;
pub mod topics;

use weir_core::{Classify, ErrorKind};
use weir_store::StoreError;

use crate::Broker;

/// Things on one page of a list, at most.
pub const PAGE: u32 = 1_000;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error("there is no {what} {name:?}")]
    Missing { what: &'static str, name: String },
    #[error("key {key} owns rule {rule}: drop the rule, or apply it with another key, first")]
    OwnsRule { key: String, rule: String },
    #[error("plugin {plugin} is used by {user}: drop that first")]
    PluginInUse { plugin: String, user: String },
    #[error("key {0} is the last of an administrator: without it nobody could manage the hub")]
    LastAdministrator(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for AdminError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::OwnsRule { .. } | Self::PluginInUse { .. } | Self::LastAdministrator(_) => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }
}

impl AdminError {
    fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }

    fn missing(what: &'static str, name: impl ToString) -> Self {
        Self::Missing { what, name: name.to_string() }
    }
}

/// Runs a change that is made of several steps to its end, whatever becomes of the caller.
async fn completed<T, C>(broker: &Broker, name: &'static str, change: impl FnOnce(Broker) -> C) -> Result<T, AdminError>
where
    T: Send + 'static,
    C: Future<Output = Result<T, AdminError>> + Send + 'static,
{
    broker.complete(name, change(broker.clone())).await.unwrap_or(Err(AdminError::Store(StoreError::Panicked)))
}

fn check_page(limit: u32) -> Result<(), AdminError> {
    if (1..=PAGE).contains(&limit) {
        Ok(())
    } else {
        Err(AdminError::invalid("limit", format!("a page holds 1 to {PAGE}, not {limit}")))
    }
}

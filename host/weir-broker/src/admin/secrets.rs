//! Secrets that rules and sinks name. They are written and used, never shown.

pub use weir_store::SecretRow;

use weir_core::SecretName;

use super::AdminError;
use crate::Broker;

/// Sets a secret. Rules that run keep the value that they were opened with.
pub async fn put(broker: &Broker, name: &SecretName, value: &[u8]) -> Result<(), AdminError> {
    if value.is_empty() {
        return Err(AdminError::invalid("value", "a secret must not be empty"));
    }
    // Settings of targets are text.
    if std::str::from_utf8(value).is_err() {
        return Err(AdminError::invalid("value", "a secret must be UTF-8 text"));
    }
    Ok(broker.store().put_secret(name, value, broker.clock().now()).await?)
}

pub async fn list(broker: &Broker) -> Result<Vec<SecretRow>, AdminError> {
    Ok(broker.store().secrets().await?)
}

pub async fn delete(broker: &Broker, name: &SecretName) -> Result<(), AdminError> {
    Ok(broker.store().delete_secret(name).await?)
}

//! Declared indexes, to look at. They are made and dropped by scripts: see [`crate::RuleRuntime::apply`].

pub use weir_store::IndexRow;

use weir_core::IndexName;

use super::AdminError;
use crate::Broker;

pub async fn list(broker: &Broker) -> Result<Vec<IndexRow>, AdminError> {
    Ok(broker.store().indexes().await?)
}

pub fn get(broker: &Broker, name: &IndexName) -> Result<IndexRow, AdminError> {
    broker.store().index(name)?.ok_or_else(|| AdminError::missing("index", name))
}

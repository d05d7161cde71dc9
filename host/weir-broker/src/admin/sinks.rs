//! Sinks, to look at, with secrets in their texts masked. They are made and dropped by scripts: see [`crate::RuleRuntime::apply`].

pub use weir_store::SinkRow;

use weir_core::SinkName;

use super::AdminError;
use crate::Broker;

pub async fn list(broker: &Broker) -> Result<Vec<SinkRow>, AdminError> {
    let sinks = broker.store().sinks().await?;
    Ok(sinks.into_iter().map(|sink| masked(broker, sink)).collect())
}

pub fn get(broker: &Broker, name: &SinkName) -> Result<SinkRow, AdminError> {
    let sink = broker.store().sink(name)?.ok_or_else(|| AdminError::missing("sink", name))?;
    Ok(masked(broker, sink))
}

fn masked(broker: &Broker, sink: SinkRow) -> SinkRow {
    SinkRow { text: broker.rules().masked_sink(&sink), ..sink }
}

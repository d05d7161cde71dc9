//! The table `devices`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanBuilder, RecordBatch, StringBuilder, TimestampMillisecondBuilder},
    error::ArrowError,
};
use weir_core::{
    DeviceId, Principal,
    seams::{BoxFuture, Table, TableError, TakeRows},
    table::{TableScan, TableSchema},
};
use weir_store::DeviceFields;

use super::{BATCH_ROWS, Batch, Batches};
use crate::{Broker, session::SessionKey};

pub(super) struct Devices {
    schema: Arc<TableSchema>,
    broker: Broker,
}

/// One batch while it grows.
struct DeviceRows {
    rows: usize,
    product: StringBuilder,
    device: StringBuilder,
    enabled: BooleanBuilder,
    online: BooleanBuilder,
    protocol: StringBuilder,
    connected_at: TimestampMillisecondBuilder,
    created_at: TimestampMillisecondBuilder,
}

impl Devices {
    pub(super) fn new(broker: Broker) -> Self {
        Self { schema: TableSchema::devices(), broker }
    }

    fn push(&self, batch: &mut DeviceRows, row: DeviceFields<'_>) {
        let id = row.product.parse().ok().zip(row.device.parse().ok());
        let id = id.map(|(product, device)| DeviceId { product, device });
        let is_through = id.as_ref().is_some_and(|id| self.broker.sub_devices().through(id).is_some());
        let key = id.map(|id| SessionKey::of(&Principal::Device(id), ""));
        let connected = key.and_then(|key| self.broker.connections().about(&key));
        batch.rows += 1;
        batch.product.append_value(row.product);
        batch.device.append_value(row.device);
        batch.enabled.append_value(row.enabled);
        batch.online.append_value(connected.is_some() || is_through);
        batch.protocol.append_option(connected.map(|(protocol, ..)| protocol.as_str()));
        batch.connected_at.append_option(connected.map(|(_, at, _)| at.0));
        batch.created_at.append_value(row.created_at);
    }
}

impl Table for Devices {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// A device is in the store when its making is answered.
    fn settle(&self) -> BoxFuture<'_, Result<(), TableError>> {
        Box::pin(async { Ok(()) })
    }

    fn scan(&self, scan: &TableScan, rows: Arc<dyn TakeRows>) -> Result<(), TableError> {
        let over = Arc::clone(&rows);
        let mut batches = Batches::new(scan, rows);
        let read = self.broker.store().scan_devices(
            &scan.conditions,
            move || over.is_over(),
            |row| {
                self.push(&mut batches.batch, row);
                batches.go_on()
            },
        );
        batches.end(read, &self.schema.name)
    }
}

impl Default for DeviceRows {
    fn default() -> Self {
        let time = || TimestampMillisecondBuilder::new().with_timezone("UTC");
        Self {
            rows: 0,
            product: StringBuilder::new(),
            device: StringBuilder::new(),
            enabled: BooleanBuilder::new(),
            online: BooleanBuilder::new(),
            protocol: StringBuilder::new(),
            connected_at: time(),
            created_at: time(),
        }
    }
}

impl Batch for DeviceRows {
    fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS
    }

    fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn finish(mut self, wanted: &[usize]) -> Result<RecordBatch, ArrowError> {
        let columns: [(&str, ArrayRef); 7] = [
            ("product", Arc::new(self.product.finish())),
            ("device", Arc::new(self.device.finish())),
            ("enabled", Arc::new(self.enabled.finish())),
            ("online", Arc::new(self.online.finish())),
            ("protocol", Arc::new(self.protocol.finish())),
            ("connected_at", Arc::new(self.connected_at.finish())),
            ("created_at", Arc::new(self.created_at.finish())),
        ];
        super::chosen(&columns, wanted, self.rows)
    }
}

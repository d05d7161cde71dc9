//! The table `shadows`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder},
    error::ArrowError,
};
use weir_core::{
    seams::{BoxFuture, Table, TableError, TakeRows},
    shadow,
    table::{TableScan, TableSchema},
};
use weir_store::{ShadowFields, ShadowTexts};

use super::{BATCH_BYTES, BATCH_ROWS, Batch, Batches};
use crate::Broker;

pub(super) struct Shadows {
    schema: Arc<TableSchema>,
    broker: Broker,
}

/// One batch while it grows.
struct ShadowRows {
    rows: usize,
    bytes: usize,
    product: StringBuilder,
    device: StringBuilder,
    name: StringBuilder,
    version: Int64Builder,
    reported: StringBuilder,
    desired: StringBuilder,
    delta: StringBuilder,
    metadata: StringBuilder,
    updated_at: TimestampMillisecondBuilder,
}

impl Shadows {
    pub(super) fn new(broker: Broker) -> Self {
        Self { schema: TableSchema::shadows(), broker }
    }

    fn wants(&self, scan: &TableScan, column: &str) -> bool {
        self.schema.column(column).is_some_and(|(place, _)| scan.columns.contains(&place))
    }
}

impl Table for Shadows {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Documents are stored a little after they change.
    fn settle(&self) -> BoxFuture<'_, Result<(), TableError>> {
        Box::pin(async {
            let reason = || "the hub is going down".to_owned();
            let stored = self.broker.store_shadows().await;
            stored.ok_or_else(|| TableError { table: self.schema.name.clone(), reason: reason() })
        })
    }

    fn scan(&self, scan: &TableScan, rows: Arc<dyn TakeRows>) -> Result<(), TableError> {
        // What is left to do is not stored.
        let delta = self.wants(scan, "delta");
        let texts = ShadowTexts {
            reported: delta || self.wants(scan, "reported"),
            desired: delta || self.wants(scan, "desired"),
            metadata: self.wants(scan, "metadata"),
        };
        let over = Arc::clone(&rows);
        let mut batches = Batches::<ShadowRows>::new(scan, rows);
        let read = self.broker.store().scan_shadows(
            &scan.conditions,
            texts,
            move || over.is_over(),
            |row| {
                batches.batch.push(row, delta);
                batches.go_on()
            },
        );
        batches.end(read, &self.schema.name)
    }
}

impl Default for ShadowRows {
    fn default() -> Self {
        Self {
            rows: 0,
            bytes: 0,
            product: StringBuilder::new(),
            device: StringBuilder::new(),
            name: StringBuilder::new(),
            version: Int64Builder::new(),
            reported: StringBuilder::new(),
            desired: StringBuilder::new(),
            delta: StringBuilder::new(),
            metadata: StringBuilder::new(),
            updated_at: TimestampMillisecondBuilder::new().with_timezone("UTC"),
        }
    }
}

impl ShadowRows {
    fn push(&mut self, row: ShadowFields<'_>, delta: bool) {
        self.rows += 1;
        self.bytes += [row.reported, row.desired, row.metadata].into_iter().flatten().map(str::len).sum::<usize>();
        self.product.append_value(row.product);
        self.device.append_value(row.device);
        self.name.append_option(Some(row.name).filter(|name| !name.is_empty()));
        self.version.append_value(row.version.cast_signed());
        self.reported.append_option(row.reported);
        self.desired.append_option(row.desired);
        self.delta.append_option(if delta { shadow::stored_delta(row.desired, row.reported) } else { None });
        self.metadata.append_option(row.metadata);
        self.updated_at.append_value(row.changed_at);
    }
}

impl Batch for ShadowRows {
    fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn finish(mut self, wanted: &[usize]) -> Result<RecordBatch, ArrowError> {
        let columns: [(&str, ArrayRef); 9] = [
            ("product", Arc::new(self.product.finish())),
            ("device", Arc::new(self.device.finish())),
            ("name", Arc::new(self.name.finish())),
            ("version", Arc::new(self.version.finish())),
            ("reported", Arc::new(self.reported.finish())),
            ("desired", Arc::new(self.desired.finish())),
            ("delta", Arc::new(self.delta.finish())),
            ("metadata", Arc::new(self.metadata.finish())),
            ("updated_at", Arc::new(self.updated_at.finish())),
        ];
        super::chosen(&columns, wanted, self.rows)
    }
}

//! Rows to columns.

use weir_core::seams::Delivery;

use super::columns::Columns;
use crate::bindings::types::{Batch, Bytes, Column, Values};

/// The columns that `sink.wit` promises, and those that were asked for behind them.
pub(super) fn batch(rows: &[Delivery], asked: &Columns) -> Batch {
    let number = |offset: u64| offset.cast_signed();
    let mut columns = vec![
        numbers("offset", rows.iter().map(|row| number(row.key.offset.0)), Values::Int64),
        texts("rule", rows.iter().map(|row| Some(row.key.rule.as_str().as_bytes())), Values::Utf8),
        numbers("row", rows.iter().map(|row| i64::from(row.key.row)), Values::Int64),
        numbers("time", rows.iter().map(|row| row.accepted_at), Values::Timestamp),
        texts("topic", rows.iter().map(|row| Some(row.topic.as_bytes())), Values::Utf8),
        texts("product", rows.iter().map(|row| row.product.as_deref().map(str::as_bytes)), Values::Utf8),
        texts("device", rows.iter().map(|row| row.device.as_deref().map(str::as_bytes)), Values::Utf8),
        numbers("qos", rows.iter().map(|row| i64::from(row.qos)), Values::Int64),
        texts("payload", rows.iter().map(|row| Some(row.payload.as_ref())), Values::Binary),
        texts("failure", rows.iter().map(|row| row.failure.as_deref().map(str::as_bytes)), Values::Utf8),
    ];
    columns.extend(asked.of(rows));
    Batch { rows: u32::try_from(rows.len()).unwrap_or(u32::MAX), columns }
}

fn numbers(name: &str, numbers: impl Iterator<Item = i64>, values: fn(Vec<i64>) -> Values) -> Column {
    Column { name: name.to_owned(), validity: None, values: values(numbers.collect()) }
}

pub(super) fn texts<'a>(
    name: &str,
    texts: impl Iterator<Item = Option<&'a [u8]>>,
    values: fn(Bytes) -> Values,
) -> Column {
    let (mut offsets, mut data) = (vec![0], Vec::new());
    let mut validity = Validity::default();
    for text in texts {
        data.extend_from_slice(text.unwrap_or_default());
        offsets.push(u32::try_from(data.len()).unwrap_or(u32::MAX));
        validity.push(text.is_some());
    }
    Column { name: name.to_owned(), validity: validity.finish(), values: values(Bytes { offsets, data }) }
}

/// A bit for each row.
#[derive(Default)]
pub(super) struct Validity {
    bits: Vec<u8>,
    rows: usize,
    any_missing: bool,
}

impl Validity {
    pub(super) fn push(&mut self, valid: bool) {
        if self.rows.is_multiple_of(8) {
            self.bits.push(0);
        }
        if let Some(byte) = self.bits.last_mut() {
            *byte |= u8::from(valid) << (self.rows % 8);
        }
        self.rows += 1;
        self.any_missing |= !valid;
    }

    /// Nothing, if each row has a value.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        self.any_missing.then_some(self.bits)
    }

    pub(super) fn bits(self) -> Vec<u8> {
        self.bits
    }
}

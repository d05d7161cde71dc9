//! Rows of an evaluation as what targets are given.

use bytes::Bytes;
use weir_core::{
    Offset, RuleName,
    schema::{Records, optional_text},
    seams::{Delivery, IdempotenceKey, Rows},
};

/// A row for a target, and what is wrong with it if that is known before it is sent.
pub(super) struct Made {
    pub(super) delivery: Delivery,
    pub(super) invalid: Option<String>,
}

/// Row `index` of those that a rule made of `records`. `None`: there is no such row.
pub(super) fn made(rule: &RuleName, records: &Records, rows: &Rows, index: usize) -> Option<Made> {
    let (source, row) = (*rows.source.get(index)? as usize, *rows.row.get(index)?);
    let mut invalid = None;
    let mut arguments = Vec::with_capacity(rows.arguments.len());
    for (setting, values) in &rows.arguments {
        match optional_text(values, index) {
            Some(value) => arguments.push((setting.clone(), value.to_owned())),
            None => invalid = Some(format!("setting {setting} has no usable value for this row")),
        }
    }
    let delivery = Delivery {
        key: IdempotenceKey { offset: Offset(records.offset.value(source)), rule: rule.clone(), row },
        topic: records.topic.value(source).to_owned(),
        product: optional_text(&records.product, source).map(str::to_owned),
        device: optional_text(&records.device, source).map(str::to_owned),
        accepted_at: records.accepted_at.value(source),
        qos: records.qos.value(source),
        hop: records.hop.value(source),
        payload: Bytes::copy_from_slice(rows.payload.value(index)),
        arguments,
        failure: None,
    };
    Some(Made { delivery, invalid })
}

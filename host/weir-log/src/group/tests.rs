use proptest::prelude::*;

use super::*;
use crate::tests::{NOW, Owned};

/// The frame that these records make.
pub(crate) fn frame(first: Offset, records: &[Record<'_>]) -> Frame {
    let mut group = Group::default();
    group.extend(first, NOW, records, 0);
    group.build().unwrap()
}

proptest! {
    #[test]
    fn a_frame_has_the_rows_that_were_added(groups in prop::collection::vec(Owned::many(1..40), 1..4)) {
        // One group again and again: nothing of the rows before may show.
        let mut group = Group::default();
        for (n, rows) in groups.iter().enumerate() {
            let first = Offset::new(3, n as u64 * 100);
            for (m, row) in rows.iter().enumerate() {
                group.extend(first.plus(m as u64), NOW, &[row.record()], 1);
            }
            let frame = group.build().unwrap();
            group.clear();
            prop_assert_eq!((frame.first, frame.next), (first, first.plus(rows.len() as u64)));
            prop_assert_eq!(frame.acknowledged, rows.iter().any(|row| row.record().is_acknowledged()));
            for (m, row) in rows.iter().enumerate() {
                prop_assert_eq!(frame.records.offset.value(m), first.0 + m as u64);
                prop_assert_eq!(frame.records.accepted_at.value(m), NOW.0);
                row.check(&frame.records, m);
            }
        }
    }
}

#[test]
fn the_batch_has_the_columns_of_the_schema_in_order() {
    let frame = frame(Offset(1), &[crate::tests::message(Qos::AtMostOnce, "a", b"x")]);
    assert_eq!(frame.batch.schema(), *RECORD_SCHEMA);
    let again = Records::try_from(&frame.batch).unwrap();
    assert_eq!(columns(&again), columns(&frame.records));
}

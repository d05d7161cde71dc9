use proptest::prelude::*;

use super::*;
use crate::{
    group,
    tests::{Owned, message},
};

const SALT: u64 = 0x1234_5678_9abc_def0;
const FIRST: Offset = Offset(0x0300_0000_0007);

fn frame(rows: &[Owned]) -> Frame {
    group::tests::frame(FIRST, &rows.iter().map(Owned::record).collect::<Vec<_>>())
}

fn encode(frame: &Frame) -> Vec<u8> {
    let mut encoder = Encoder::new().unwrap();
    let length = encoder.encode(frame).unwrap();
    let bytes = encoder.finish(SALT, Offset(5)).to_vec();
    assert_eq!((bytes.len() as u64, bytes.len() % ALIGNMENT), (length, 0));
    bytes
}

fn columns() -> Columns {
    Columns::new(RECORD_SCHEMA.as_ref().clone()).unwrap()
}

/// The frame as a reader gets it.
fn decode(bytes: &[u8]) -> Option<Frame> {
    verified_header(SALT, bytes)?.decode(&Buffer::from(bytes), &columns())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Below and above the number of rows from which frames are compressed.
    #[test]
    fn what_was_written_is_read(rows in prop_oneof![Owned::many(1..10), Owned::many(60..80)]) {
        let written = frame(&rows);
        let bytes = encode(&written);
        let header = verified_header(SALT, &bytes).unwrap();
        prop_assert_eq!((header.first, header.next(), header.synced), (FIRST, written.next, Offset(5)));
        let read = decode(&bytes).unwrap();
        prop_assert_eq!(&read.batch, &written.batch);
        prop_assert_eq!((read.first, read.next, read.acknowledged), (written.first, written.next, written.acknowledged));
        let half = FIRST.plus(rows.len() as u64 / 2);
        let rest = read.starting_at(half).unwrap();
        prop_assert_eq!((rest.first, rest.next), (half, written.next));
        rows.iter().skip(rows.len() / 2).enumerate().for_each(|(n, row)| row.check(&rest.records, n));
    }

    /// A file that somebody made up: wrong inside, with the right checksum.
    #[test]
    fn a_made_up_frame_is_no_panic(
        rows in prop_oneof![Owned::many(1..5), Owned::many(64..66)],
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8, any::<bool>()), 1..6),
    ) {
        let mut bytes = encode(&frame(&rows));
        for (at, bit, in_metadata) in flips {
            // Metadata is where contradictions are made: it stands within the first 1,200 bytes.
            let end = if in_metadata { bytes.len().min(1_200) } else { bytes.len() };
            bytes[12 + at.index(end - 12)] ^= 1 << bit;
        }
        let checksum = checksum(SALT, &bytes);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        if let Some(frame) = decode(&bytes) {
            prop_assert_eq!(frame.records.len() as u64, frame.next.0 - frame.first.0);
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    let record = message(Qos::AtLeastOnce, "A1B2C3D4E5/dev/event", b"payload");
    let mut bytes = encode(&group::tests::frame(FIRST, &[record]));
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verified_header(SALT, &bytes), None, "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..bytes.len() {
        assert_eq!(verified_header(SALT, &bytes[..length]), None, "length {length}");
    }
    assert!(verified_header(SALT, &bytes).is_some());
    assert_eq!(verified_header(SALT + 1, &bytes), None, "a frame of another segment");
}

#[test]
fn columns_of_a_later_version_are_ignored() {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, UInt32Array},
        datatypes::{DataType, Field, Schema},
    };

    let frame = group::tests::frame(FIRST, &[message(Qos::AtLeastOnce, "a", b"payload")]);
    let mut fields = RECORD_SCHEMA.fields().to_vec();
    fields.insert(3, Arc::new(Field::new("priority", DataType::UInt32, true)));
    let mut arrays = frame.batch.columns().to_vec();
    arrays.insert(3, Arc::new(UInt32Array::from(vec![7])) as ArrayRef);
    let later = Schema::new(fields);
    let batch = RecordBatch::try_new(Arc::new(later.clone()), arrays).unwrap();

    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &later, ipc_options().unwrap()).unwrap();
    writer.get_mut().clear();
    writer.write(&batch).unwrap();
    let message = Buffer::from(writer.get_ref().as_slice());
    let read = Columns::new(later).unwrap().decode(&message, 1).unwrap();
    assert_eq!(read, frame.batch);

    assert!(Columns::new(Schema::new(RECORD_SCHEMA.fields()[1..].to_vec())).is_none(), "a column is lacking");

    // Before the columns that were added.
    let kept = frame.batch.num_columns() - weir_core::schema::ADDED_COLUMNS.len();
    let earlier = frame.batch.project(&(0..kept).collect::<Vec<_>>()).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &earlier.schema(), ipc_options().unwrap()).unwrap();
    writer.get_mut().clear();
    writer.write(&earlier).unwrap();
    let message = Buffer::from(writer.get_ref().as_slice());
    let read = Columns::new(earlier.schema().as_ref().clone()).unwrap().decode(&message, 1).unwrap();
    assert_eq!(read.num_columns(), frame.batch.num_columns());
    assert_eq!(read.column_by_name("text").unwrap().null_count(), 1);
}

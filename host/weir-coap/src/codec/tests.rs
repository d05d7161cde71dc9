use proptest::prelude::*;

use super::{
    block::{Block, exponent_within},
    option::{self, of_uint, uint},
    *,
};

#[test]
fn a_message_is_written_as_it_was_read() {
    let mut message = Message::new(Kind::Confirmable, Code::POST, 0x1234);
    message.token = Token::from_slice(&[1, 2, 3]);
    message.add(option::URI_PATH, "A1B2C3D4E5/dev/data");
    message.add(option::CONTENT_FORMAT, of_uint(50));
    message.add(option::NEED_RESPONSE, "1");
    message.payload = b"{}".to_vec();
    let bytes = encode(&message);
    assert_eq!(bytes[..7], [0x43, 0x02, 0x12, 0x34, 1, 2, 3]);
    assert_eq!(decode(&bytes), Ok(message));
}

#[test]
fn what_is_no_message_is_refused() {
    let check = |bytes: &[u8], reason: &str, confirmable: Option<u16>| {
        assert_eq!(decode(bytes).map_err(|error| (error.reason, error.confirmable)), Err((reason, confirmable)));
    };
    check(b"", "too short", None);
    check(&[0x40, 1, 0], "too short", None);
    check(&[0x80, 1, 0, 7], "version", None);
    check(&[0x49, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0], "token length", Some(7));
    check(&[0x59, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0], "token length", None);
    check(&[0x40, 0, 0, 7, 0xff, 1], "empty message with content", Some(7));
    check(&[0x41, 0, 0, 7, 1], "empty message with content", Some(7));
    check(&[0x42, 1, 0, 7, 1], "format", Some(7));
    check(&[0x40, 1, 0, 7, 0xf0], "format", Some(7)); // a delta of 15 is reserved
    check(&[0x40, 1, 0, 7, 0x0f], "format", Some(7)); // a length of 15, too
    check(&[0x40, 1, 0, 7, 0xb4, b'a'], "format", Some(7));
    check(&[0x40, 1, 0, 7, 0xff], "marker without payload", Some(7));
    check(&[0x40, 1, 0, 7, 0xb1, b'a', 0xff], "marker without payload", Some(7));
    let mut many = vec![0x40, 1, 0, 7, 0xb0];
    many.resize(5 + 64, 0);
    check(&many, "too many options", Some(7));
    let mut long = vec![0x40, 1, 0, 7, 0xff];
    long.resize(MAX_DATAGRAM + 1, 1);
    check(&long, "too long", Some(7));
}

#[test]
fn a_block_may_have_twenty_bits_of_number() {
    for (number, more, exponent, bytes) in [
        (0, false, 0, &[][..]),
        (0, true, 6, &[0x0e]),
        (5_000, false, 2, &[0x01, 0x38, 0x82]),
        (1_048_575, true, 6, &[0xff, 0xff, 0xfe]),
    ] {
        let block = Block { number, more, exponent };
        assert_eq!(block.write(), bytes);
        assert_eq!(Block::read(bytes), Some(block));
    }
    assert_eq!(Block::read(&[7]), None, "the size of 2048 is reserved");
    assert_eq!(Block::read(&[0, 0, 0, 1]), None);
    assert_eq!([0, 16, 100, 1_024, 5_000].map(exponent_within), [0, 0, 2, 6, 6]);
}

#[test]
fn numbers_in_options_are_short() {
    for (number, bytes) in [(0, &[][..]), (1, &[1]), (256, &[1, 0]), (u32::MAX, &[255; 4])] {
        assert_eq!(of_uint(number), bytes);
        assert_eq!(uint(bytes), Some(number));
    }
    assert_eq!(uint(&[0; 5]), None);
}

proptest! {
    #[test]
    fn nothing_that_arrives_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(message) = decode(&bytes) {
            // What was read is written in the shortest form, and read as the same.
            prop_assert_eq!(decode(&encode(&message)), Ok(message));
        }
    }
}

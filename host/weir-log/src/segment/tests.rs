use super::*;

const FIRST: Offset = Offset(0x0300_0000_0007);
const NAME: SegmentName = SegmentName { first: FIRST };

fn bytes() -> Vec<u8> {
    header(FIRST, Offset(9), Timestamp(77), 123).unwrap()
}

fn parse(bytes: &[u8]) -> Result<Segment, HeaderError> {
    Segment::parse(NAME, bytes)
}

#[test]
fn a_header_says_where_its_segment_stands() {
    let bytes = bytes();
    let segment = parse(&[bytes.clone(), vec![1; 100]].concat()).unwrap();
    assert_eq!((segment.first(), segment.previous, segment.created_at), (FIRST, Offset(9), Timestamp(77)));
    assert_eq!((segment.salt, segment.header_bytes), (123, bytes.len() as u64));
    assert_eq!(bytes.len() % ALIGNMENT, 0);
}

#[test]
fn a_damaged_header_is_never_taken_for_another() {
    let mut bytes = bytes();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(parse(&bytes), Err(HeaderError::Damaged(_))), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..bytes.len() {
        assert!(matches!(parse(&bytes[..length]), Err(HeaderError::Damaged(_))), "length {length}");
    }
}

#[test]
fn a_header_under_another_name_is_refused() {
    let name = SegmentName { first: FIRST.plus(1) };
    assert!(matches!(Segment::parse(name, &bytes()), Err(HeaderError::Damaged(_))));
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut bytes = bytes();
    bytes[8] = 9;
    let content = bytes.len() - 4;
    let checksum = crc32c::crc32c(&bytes[..content]);
    bytes[content..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(parse(&bytes).unwrap_err(), HeaderError::Newer(9));
}

#[test]
fn names() {
    assert_eq!(NAME.to_string(), "00000003-0000000007.seg");
    assert_eq!(SegmentName::parse("00000003-0000000007.seg"), Some(NAME));
    for other in
        ["lock", "3-7.seg", "00000003-0000000007", "0000000G-0000000007.seg", "+0000003-0000000007.seg", ".seg"]
    {
        assert_eq!(SegmentName::parse(other), None, "{other}");
    }
    // Epochs have 24 bits.
    assert_eq!(SegmentName::parse("01000003-0000000007.seg"), None);
}

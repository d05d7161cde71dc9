//! Numbers of options, and numbers in options.

pub const URI_HOST: u16 = 3;
pub const ETAG: u16 = 4;
pub const OBSERVE: u16 = 6;
pub const URI_PORT: u16 = 7;
pub const URI_PATH: u16 = 11;
pub const CONTENT_FORMAT: u16 = 12;
pub const MAX_AGE: u16 = 14;
pub const URI_QUERY: u16 = 15;
pub const ACCEPT: u16 = 17;
pub const BLOCK2: u16 = 23;
pub const BLOCK1: u16 = 27;
pub const SIZE2: u16 = 28;
pub const PROXY_URI: u16 = 35;
pub const PROXY_SCHEME: u16 = 39;
pub const SIZE1: u16 = 60;
/// RFC 9175.
pub const REQUEST_TAG: u16 = 292;
/// The vendor's: the token that authentication gave (vendor protocol §3.3).
pub const AUTH_TOKEN: u16 = 61;
/// The vendor's: whether the client waits for something in the response.
pub const NEED_RESPONSE: u16 = 62;

/// Whether a message must be refused if the option is not understood (RFC 7252 §5.4.6).
pub fn is_critical(number: u16) -> bool {
    number % 2 == 1
}

/// Whether it does not distinguish one resource from another (RFC 7252 §5.4.2).
pub fn is_no_cache_key(number: u16) -> bool {
    number & 0x1e == 0x1c
}

/// How often an option of a request may stand and how long its value may be; `None` if it is not understood.
/// Which of those that are understood mean nothing here is for each request to say.
pub fn bounds(number: u16) -> Option<(usize, std::ops::RangeInclusive<usize>)> {
    Some(match number {
        URI_HOST => (1, 1..=255),
        ETAG => (8, 1..=8),
        OBSERVE => (1, 0..=3),
        URI_PORT | CONTENT_FORMAT | ACCEPT => (1, 0..=2),
        URI_PATH | URI_QUERY => (32, 0..=255),
        BLOCK1 | BLOCK2 => (1, 0..=3),
        SIZE1 | SIZE2 => (1, 0..=4),
        PROXY_URI => (1, 1..=1_034),
        PROXY_SCHEME => (1, 1..=255),
        AUTH_TOKEN => (1, 1..=64),
        NEED_RESPONSE => (1, 0..=16),
        REQUEST_TAG => (8, 0..=8),
        _ => return None,
    })
}

/// An unsigned integer (RFC 7252 §3.2). `None` if it is longer than four bytes.
pub fn uint(value: &[u8]) -> Option<u32> {
    (value.len() <= 4).then(|| value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// The shortest form.
pub fn of_uint(number: u32) -> Vec<u8> {
    number.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

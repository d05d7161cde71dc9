//! Strings of JSON: from escapes to text and back.

use super::scan::{first_byte, stops};

/// Appends the text of what stands between the quotes of a valid string.
pub(crate) fn unescape(inner: &str, into: &mut String) {
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        into.push_str(plain);
        let mut chars = escape.chars();
        let char = match chars.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (char, length) = code_point(escape);
                chars = escape.get(length..).unwrap_or_default().chars();
                char
            }
            Some(char) => char,
            None => return,
        };
        into.push(char);
        rest = chars.as_str();
    }
    into.push_str(rest);
}

/// The character of `uXXXX` or `uXXXX\uXXXX`, and the bytes that it took.
fn code_point(escape: &str) -> (char, usize) {
    let unit = |at: usize| escape.get(at..at + 4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let units = unit(1).into_iter().chain(unit(7));
    // The second unit belongs to the first only if the first is half of a pair.
    let char = char::decode_utf16(units).next().and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER);
    (char, if u32::from(char) > 0xFFFF { 11 } else { 5 })
}

/// Appends `text` as a JSON string, with no more escapes than JSON demands.
pub(crate) fn quote(text: &str, into: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    into.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_prefix(rest);
        let (copied, others) = rest.split_at_checked(plain).unwrap_or((rest, &[]));
        into.extend_from_slice(copied);
        let Some((byte, others)) = others.split_first() else { break };
        match byte {
            b'"' | b'\\' => into.extend([b'\\', *byte]),
            b'\n' => into.extend(b"\\n"),
            b'\r' => into.extend(b"\\r"),
            b'\t' => into.extend(b"\\t"),
            0x08 => into.extend(b"\\b"),
            0x0C => into.extend(b"\\f"),
            _ => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                into.extend(b"\\u00");
                into.extend([digit(byte >> 4), digit(byte & 15)]);
            }
        }
        rest = others;
    }
    into.push(b'"');
}

/// How many bytes stand before the first that needs an escape.
fn plain_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        let Some(chunk) = rest.first_chunk() else {
            let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            return at + stop.unwrap_or(rest.len());
        };
        let stops = stops(u64::from_le_bytes(*chunk));
        at += first_byte(stops);
        if stops != 0 {
            return at;
        }
    }
    at
}

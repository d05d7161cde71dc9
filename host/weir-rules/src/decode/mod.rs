//! Payloads that are not JSON, as JSON: what a rule's source says that they are.
//!
//! Decoding happens before anything of a rule is evaluated, so paths, `*` and all functions see the JSON. What JSON has no
//! word for becomes what a reader would expect: bytes are base64 text, keys that are numbers are texts, NaN and infinities
//! are null, a tag is what it tags. A payload that is not of its format fails that message alone, as malformed JSON does.

mod cbor;
mod message_pack;

use std::fmt;

/// How payloads are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// RFC 8949.
    Cbor,
    /// The MessagePack specification.
    MessagePack,
}

/// How deep arrays and maps may nest, as for JSON.
const MAX_DEPTH: usize = 128;

impl Format {
    pub(crate) const ALL: [(&'static str, Self); 2] = [("cbor", Self::Cbor), ("msgpack", Self::MessagePack)];

    /// In any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, format)| format)
    }

    /// The payload as JSON text; `None` if it is not of this format, or goes on behind its end.
    pub(crate) fn to_json(self, payload: &[u8]) -> Option<Vec<u8>> {
        let value = match self {
            Self::Cbor => cbor::value(payload),
            Self::MessagePack => message_pack::value(payload),
        };
        serde_json::to_vec(&value?).ok()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, format)| format == self).map_or("", |(name, _)| name))
    }
}

/// A finite number; JSON has no other.
fn number(value: f64) -> serde_json::Value {
    serde_json::Number::from_f64(value).map_or(serde_json::Value::Null, Into::into)
}

fn bytes(value: &[u8]) -> serde_json::Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(value).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(format: Format, hex: &str) -> Option<String> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let payload: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        format.to_json(&payload).map(|json| String::from_utf8(json).unwrap())
    }

    /// RFC 8949, appendix A.
    #[test]
    fn cbor_becomes_json() {
        for (hex, expected) in [
            ("00", "0"),
            ("1bffffffffffffffff", "18446744073709551615"),
            ("3903e7", "-1000"),
            ("fb3ff199999999999a", "1.1"),
            ("f97c00", "null"),
            ("f97e00", "null"),
            ("f5", "true"),
            ("f6", "null"),
            ("f7", "null"),
            ("c074323031332d30332d32315432303a30343a30305a", r#""2013-03-21T20:04:00Z""#),
            ("c11a514b67b0", "1363896240"),
            ("4401020304", r#""AQIDBA==""#),
            ("6449455446", r#""IETF""#),
            ("8301820203820405", "[1,[2,3],[4,5]]"),
            ("a201020304", r#"{"1":2,"3":4}"#),
            ("bf6346756ef563416d7421ff", r#"{"Fun":true,"Amt":-2}"#),
            ("a2 6161 01 6161 02", r#"{"a":2}"#),
        ] {
            assert_eq!(json(Format::Cbor, hex).as_deref(), Some(expected), "{hex}");
        }
        for hex in ["", "18", "0000", "a1 8101 02", "ff", "7f", "9bffffffffffffffff"] {
            assert_eq!(json(Format::Cbor, hex), None, "{hex}");
        }
        assert_eq!(json(Format::Cbor, &format!("{}00", "81".repeat(10_000))), None);
    }

    #[test]
    fn message_pack_becomes_json() {
        for (hex, expected) in [
            ("82 a7636f6d70616374 c3 a6736368656d61 00", r#"{"compact":true,"schema":0}"#),
            ("d3 8000000000000000", "-9223372036854775808"),
            ("cb 3ff199999999999a", "1.1"),
            ("ca 7f800000", "null"),
            ("c4 02 0102", r#""AQI=""#),
            ("93 01 c0 a161", r#"[1,null,"a"]"#),
            ("81 01 02", r#"{"1":2}"#),
            ("d6 ff 00000001", r#"{"type":-1,"data":"AAAAAQ=="}"#),
        ] {
            assert_eq!(json(Format::MessagePack, hex).as_deref(), Some(expected), "{hex}");
        }
        for hex in ["", "0000", "a1 ff", "81 90 01", "ddffffffff"] {
            assert_eq!(json(Format::MessagePack, hex), None, "{hex}");
        }
        assert_eq!(json(Format::MessagePack, &format!("{}00", "91".repeat(10_000))), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_json_or_refused(payload: Vec<u8>) {
            for (_, format) in Format::ALL {
                if let Some(json) = format.to_json(&payload) {
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
                }
            }
        }
    }
}

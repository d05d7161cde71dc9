//! How values are written: sizes as "64 KiB", times as "10 ms".

use std::{fmt, time::Duration};

use bytesize::ByteSize;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use weir_plugins::TrustedKey;

/// A time such as "10 ms", "1 h 30 min" or "7 days".
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationText)
}

struct DurationText;

impl Visitor<'_> for DurationText {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time with its unit, such as \"10 ms\" or \"7 days\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(E::custom)
    }
}

/// The same form, for flags.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!("{text:?} is not a time; write a number and its unit, such as \"10 ms\", \"30 s\" or \"7 days\"")
    })
}

/// Bytes, such as "64 KiB" or "1 GiB"; a bare number is bytes.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(SizeText)
}

/// As [`size`], for what is held in memory.
pub(super) fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    usize::try_from(size(deserializer)?).map_err(|_| D::Error::custom("more than this machine can address"))
}

/// Origins as browsers say them: scheme, host, and a port unless it is the scheme's own.
pub(super) fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let origins = Vec::<String>::deserialize(deserializer)?;
    let is_origin = |text: &String| {
        let host = text.split_once("://").map(|(_, host)| host);
        host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']))
    };
    match origins.iter().find(|text| !is_origin(text)) {
        Some(text) => Err(D::Error::custom(format!(
            "{text:?} is not an origin; write scheme and host without a path, such as \"https://app.example.org\""
        ))),
        None => Ok(origins),
    }
}

/// Keys as `NAME:KEY`.
pub(super) fn trusted_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TrustedKey>, D::Error> {
    let keys = Vec::<String>::deserialize(deserializer)?;
    keys.iter().map(|key| key.parse().map_err(|error| D::Error::custom(format!("{key:?}: {error}")))).collect()
}

struct SizeText;

impl Visitor<'_> for SizeText {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size with its unit, such as \"64 KiB\" or \"1 GiB\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| {
            E::custom(format!("{text:?} is not a size; write a number and its unit, such as \"64 KiB\" or \"1 GiB\""))
        })
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes).map_err(|_| E::custom("a size cannot be negative"))
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<u64, E> {
        Ok(bytes)
    }
}

//! What the devices say: telemetry as devices send it, 197 bytes of JSON with 11 keys, an object and two arrays.
//!
//! Every payload has the same length and the same layout, so that a publisher can stamp the time into packets that it
//! encoded once.

/// Bytes of a payload.
pub(super) const BYTES: usize = 197;
/// One payload in this many has a temperature above 30.
pub(super) const HOT_EVERY: usize = 10;
/// Where the time is: [`STAMP_BYTES`] decimal digits, microseconds since the measurement began.
pub(super) const STAMP_AT: usize = 23;
pub(super) const STAMP_BYTES: usize = 13;

/// The name of a device; all are of one length.
pub(super) fn device_name(number: usize) -> String {
    format!("dev{number:05}")
}

pub(super) fn telemetry(device: usize, slot: usize) -> String {
    let device = device_name(device);
    let temp = if is_hot(slot) { "34.25" } else { "21.50" };
    format!(
        "{{\"dev\":\"{device}\",\"ts\":1000000000000,\"temp\":{temp},\"hum\":45.5,\"batt\":87,\"seq\":{slot:05},\
         \"status\":\"ok_running\",\"fw\":\"1.14.2\",\"pos\":{{\"lat\":48.1374,\"lon\":11.5754}},\
         \"vals\":[1.5,2.25,3],\"tags\":[\"roof\",\"n12\"]}}"
    )
    // JSON has no numbers with leading zeros.
    .replace("\"seq\":0", "\"seq\":1")
}

pub(super) fn is_hot(slot: usize) -> bool {
    slot.is_multiple_of(HOT_EVERY)
}

/// The digits of a stamp.
pub(super) fn stamp(microseconds: u64) -> [u8; STAMP_BYTES] {
    let mut digits = [b'0'; STAMP_BYTES];
    let mut rest = microseconds;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // A leading zero would not be JSON. A measurement does not last 115 days.
    digits[0] = b'1';
    digits
}

/// The stamp of a payload, if it has one.
pub(super) fn stamped(payload: &[u8]) -> Option<u64> {
    let digits = payload.get(STAMP_AT + 1..STAMP_AT + STAMP_BYTES)?;
    digits.iter().try_fold(0_u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_payload_has_the_shape_that_is_promised() {
        for (device, slot) in [(1, 0), (1, 1), (99_999, 19), (7, 12_345)] {
            let text = telemetry(device, slot);
            assert_eq!(text.len(), BYTES, "{text}");
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 11);
            assert_eq!(value["temp"].as_f64().unwrap() > 30.0, is_hot(slot));
        }
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let mut payload = telemetry(1, 1).into_bytes();
        payload[STAMP_AT..STAMP_AT + STAMP_BYTES].copy_from_slice(&stamp(1_234_567));
        assert_eq!(stamped(&payload), Some(1_234_567));
        assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap()["ts"], 1_000_001_234_567_u64);
        assert_eq!(stamped(b"{}"), None);
    }
}

//! What time it is (vendor protocol §2.4, NTP): a device publishes to `$sys/operation/PRODUCT/DEVICE`.

use serde::{Deserialize, Serialize};
use weir_core::Timestamp;

#[derive(Deserialize)]
struct Question<'a> {
    r#type: &'a str,
    resource: Vec<&'a str>,
}

#[derive(Serialize)]
struct Answer {
    r#type: &'static str,
    time: i64,
    /// When the question came, and when the answer goes, from which the device takes out the way.
    ntptime1: Timestamp,
    ntptime2: Timestamp,
}

/// `None`: that was no question for the time.
pub(super) fn answer(question: &[u8], asked_at: Timestamp, now: Timestamp) -> Option<Vec<u8>> {
    let question: Question<'_> = serde_json::from_slice(question).ok()?;
    if question.r#type != "get" || !question.resource.contains(&"time") {
        return None;
    }
    serde_json::to_vec(&Answer { r#type: "get", time: now.seconds(), ntptime1: asked_at, ntptime2: now }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example() {
        let check = |question: &str, expected: Option<&str>| {
            let (asked_at, now) = (Timestamp(1_621_562_342_773), Timestamp(1_621_562_342_779));
            let found = answer(question.as_bytes(), asked_at, now).map(|answer| String::from_utf8(answer).unwrap());
            assert_eq!(found.as_deref(), expected, "{question}");
        };
        check(
            r#"{"type":"get","resource":["time"]}"#,
            Some(r#"{"type":"get","time":1621562342,"ntptime1":1621562342773,"ntptime2":1621562342779}"#),
        );
        check(r#"{"type":"get","resource":["firmware"]}"#, None);
        check(r#"{"type":"set","resource":["time"]}"#, None);
        check("now?", None);
    }
}

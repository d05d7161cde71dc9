//! `weir trace`: what becomes of messages, and why a rule did not fire.

use std::fmt::Write as _;

use serde_json::Value;
use weir_core::{DeviceId, TopicFilter};

use super::{
    failure::Failure,
    hub::Hub,
    output::{Output, items_of, plain, text, utc},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topics to follow, such as 'A1B2C3D4E5/+/event', or a device as PRODUCT/DEVICE
    filter: String,
    /// Look at this rule alone
    #[arg(long)]
    rule: Option<String>,
    /// End after this many messages, accepted or refused
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

pub(crate) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let filter = filter(&args.filter)?;
    let mut query = vec![("filter", filter.as_str().to_owned())];
    query.extend(args.rule.map(|rule| ("rule", rule)));
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut lines = hub.lines(&["trace"], &query).await?;
    while let Some(line) = lines.next().await? {
        let told: Value = serde_json::from_slice(&line)
            .map_err(|_| Failure::refused("the hub sent a line that is no JSON; is it one?"))?;
        if let Some(error) = told.get("error").filter(|error| error.is_object()) {
            return Err(Failure::refused(text(error, "message")));
        }
        if out.is_json() {
            out.bytes(&[&line])?
        } else {
            out.line(&shown(&told))?
        }
        if matches!(text(&told, "kind").as_str(), "message" | "refused") {
            left -= 1;
        }
        if left == 0 {
            return Ok(());
        }
    }
    Err(Failure::refused("the hub ended the stream").hint("it may be going down: weir status"))
}

/// A device means all its own topics.
fn filter(given: &str) -> Result<TopicFilter, Failure> {
    let filter = match given.parse::<DeviceId>() {
        Ok(device) => format!("{device}/#"),
        Err(_) => given.to_owned(),
    };
    filter.parse().map_err(|error| Failure::usage(format!("{given:?}: {error}")))
}

fn shown(told: &Value) -> String {
    match text(told, "kind").as_str() {
        "message" => message(told),
        "refused" => {
            format!("refused   {}  from {}: {}", text(told, "topic"), text(told, "publisher"), text(told, "reason"))
        }
        "settled" => {
            let reason = match text(told, "reason") {
                reason if reason.is_empty() => reason,
                reason => format!(": {reason}"),
            };
            format!(
                "settled   {}  rule {}, {}: {}{reason}  (offset {})",
                text(told, "topic"),
                text(told, "rule"),
                text(told, "target"),
                text(told, "became").replace('_', " "),
                text(told, "offset"),
            )
        }
        "missed" => format!("missed    {} outcomes, because this reader did not keep up", text(told, "count")),
        _ => told.to_string(),
    }
}

fn message(told: &Value) -> String {
    let time = utc(told.get("time").and_then(Value::as_i64).unwrap_or_default());
    let mut shown = format!(
        "accepted  {}  from {} at {time}, QoS {} (offset {})",
        text(told, "topic"),
        text(told, "publisher"),
        text(told, "qos"),
        text(told, "offset"),
    );
    let rules = items_of(told, "rules");
    if rules.is_empty() {
        shown.push_str("\n          no rule reads this topic");
    }
    for rule in rules {
        let is = |key: &str| rule.get(key) == Some(&Value::Bool(true));
        let verdict = match (is("enabled"), is("matched")) {
            (false, _) => "is disabled",
            (true, true) => "matches",
            (true, false) => "does not match",
        };
        // Writing to a String cannot fail.
        let _written = write!(shown, "\n          rule {} {verdict}", text(rule, "rule"));
        for key in ["unreadable", "error"] {
            if let Some(reason) = rule.get(key) {
                let _written = write!(shown, ": {}", plain(reason));
            }
        }
        for condition in items_of(rule, "conditions") {
            let value = match condition.get("is") {
                Some(Value::Bool(is)) => is.to_string(),
                _ => "NULL".to_owned(),
            };
            let _written = write!(shown, "\n            {value:<5}  {}", text(condition, "text"));
        }
        for value in items_of(rule, "values") {
            let json = match value.get("json").and_then(Value::as_str) {
                Some(json) => format!("= {json}"),
                None => "is missing".to_owned(),
            };
            let _written = write!(shown, "\n                   {} {json}", text(value, "path"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_device_means_its_topics() {
        assert_eq!(filter("A1B2C3D4E5/sensor").unwrap().as_str(), "A1B2C3D4E5/sensor/#");
        assert_eq!(filter("A1B2C3D4E5/+/event").unwrap().as_str(), "A1B2C3D4E5/+/event");
        assert!(matches!(filter("a/#/b"), Err(Failure::Usage(_))));
    }

    #[test]
    fn each_part_of_where_is_shown_with_what_it_read() {
        let told = json!({
            "kind": "message", "offset": 7, "time": 0, "topic": "p/d/event", "publisher": "p/d", "qos": 1,
            "rules": [
                {"rule": "hot", "enabled": true, "matched": false,
                 "conditions": [{"text": "temp > 30", "is": false}, {"text": "hum > 1", "is": null}],
                 "values": [{"path": "temp", "json": "29"}, {"path": "hum", "json": null}]},
                {"rule": "off", "enabled": false, "matched": false, "conditions": [], "values": []},
                {"rule": "all", "enabled": true, "matched": false, "unreadable": "the payload is not valid JSON"},
            ],
        });
        let expected = "\
accepted  p/d/event  from p/d at 1970-01-01T00:00:00Z, QoS 1 (offset 7)
          rule hot does not match
            false  temp > 30
            NULL   hum > 1
                   temp = 29
                   hum is missing
          rule off is disabled
          rule all does not match: the payload is not valid JSON";
        assert_eq!(shown(&told), expected);
        let settled = json!({"kind": "settled", "topic": "p/d/event", "rule": "hot", "target": "webhook", "offset": 7,
                             "became": "dead_lettered", "reason": "400"});
        assert_eq!(shown(&settled), "settled   p/d/event  rule hot, webhook: dead lettered: 400  (offset 7)");
    }
}

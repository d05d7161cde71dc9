//! `weir tail`: follows the messages that the hub accepts.

use serde_json::Value;
use weir_core::TopicFilter;

use super::{
    failure::Failure,
    hub::Hub,
    output::{Output, text, utc},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topics to follow, such as 'A1B2C3D4E5/+/event'
    #[arg(default_value = "#")]
    filter: TopicFilter,
    /// End after this many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

pub(crate) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let mut left = args.count.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    let mut lines = hub.lines(&["tail"], &[("filter", args.filter.as_str().to_owned())]).await?;
    while let Some(line) = lines.next().await? {
        print(&line, out)?;
        left -= 1;
        if left == 0 {
            return Ok(());
        }
    }
    Err(Failure::refused("the hub ended the stream").hint("it may be going down: weir status"))
}

fn print(line: &[u8], out: Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.bytes(&[line]);
    }
    let message: Value =
        serde_json::from_slice(line).map_err(|_| Failure::refused("the hub sent a line that is not JSON"))?;
    out.line(&shown(&message))
}

/// Time, topic, payload; an error of the stream as it is.
fn shown(message: &Value) -> String {
    let time = message.get("time").and_then(Value::as_i64).map(utc).unwrap_or_default();
    let payload = match message.get("payload_base64") {
        Some(encoded) => format!("base64:{}", encoded.as_str().unwrap_or_default()),
        None => text(message, "payload"),
    };
    format!("{time}  {}  {payload}", text(message, "topic"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_a_line() {
        let message = json!({"offset": 1, "time": 0, "topic": "p/d/event", "payload": "{\"temp\":1}"});
        assert_eq!(shown(&message), "1970-01-01T00:00:00Z  p/d/event  {\"temp\":1}");
        let binary = json!({"offset": 1, "time": 0, "topic": "p/d/event", "payload_base64": "/w=="});
        assert_eq!(shown(&binary), "1970-01-01T00:00:00Z  p/d/event  base64:/w==");
    }
}

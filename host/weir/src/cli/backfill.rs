//! `weir backfill`: sends what a rule makes of past messages to its targets. Broken off, it goes on when it is called again.

use serde_json::{Map, Value};

use super::{
    documents::Documents,
    failure::Failure,
    hub::Hub,
    output::{Output, text},
    period::Period,
    progress::Bar,
    query::{number, read},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The rule that makes the rows
    rule: String,
    /// Only its actions with this sink or target
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// A name for this backfill: what was sent under it is not sent under it again
    #[arg(long, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    period: Period,
}

pub(crate) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let Args { rule, sink, name, period } = args;
    let mut request = Map::from_iter([("rule".to_owned(), rule.into()), ("name".to_owned(), name.clone().into())]);
    request.extend(sink.map(|sink| ("sink".to_owned(), sink.into())));
    period.write(&mut request);
    let answer = hub.post_stream(&["backfills"], &Value::Object(request), "application/x-ndjson").await;
    let mut lines = Documents::new(answer.map_err(|failure| failure.see("weir get rules"))?);
    let mut bar = Bar::new();
    while let Some(mut line) = lines.next().await.map_err(|failure| failure.see("weir get rules"))? {
        if let Some(scan) = line.get("progress").and_then(|progress| progress.get("scan")) {
            bar.show(number(scan, "rows_passed"), number(scan, "rows"));
        }
        if let Some(report) = line.get_mut("report").map(Value::take) {
            drop(bar);
            let words = format!(
                "backfill {name}: {} rows delivered, {} dead letters{}",
                text(&report, "delivered"),
                text(&report, "dead_lettered"),
                read(report.get("scan").unwrap_or(&Value::Null))
            );
            return out.done(&report, &words);
        }
    }
    Err(Failure::refused("the hub broke off its answer").hint("call it again: it goes on where it was"))
}

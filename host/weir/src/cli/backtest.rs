//! `weir backtest`: a rule, saved or not, over past messages. Nothing is sent; breaking it off ends it in the hub too.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{
    apply,
    documents::Documents,
    failure::Failure,
    hub::Hub,
    output::{Output, grid, items_of, text, time},
    period::Period,
    progress::Bar,
    query::{number, read},
};

/// Characters of the longest bar of the chart, and hours that it shows at the most.
const CHART_WIDTH: u64 = 40;
const CHART_HOURS: usize = 48;
/// Characters of a payload that are shown.
const PAYLOAD_WIDTH: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file with CREATE RULE, - for standard input, or the name of a rule of the hub
    #[arg(value_name = "FILE|RULE")]
    rule: String,
    /// Which rule, if the file makes several
    #[arg(long, value_name = "RULE")]
    name: Option<String>,
    #[command(flatten)]
    period: Period,
    /// Set the rows against those of the hub's version of the rule
    #[arg(long, value_name = "VERSION", value_enum)]
    compare: Option<Compare>,
    /// Rows of each action, and differences, to show
    #[arg(long, value_name = "N", default_value_t = 5)]
    samples: usize,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Compare {
    /// The version that runs, or ran until it was disabled
    Current,
}

pub(crate) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let Args { rule, name, period, compare, samples } = args;
    let mut request = Map::new();
    let path = std::path::PathBuf::from(&rule);
    if rule == "-" || path.exists() {
        request.insert("script".to_owned(), apply::read(&path)?.into());
        request.extend(name.map(|name| ("rule".to_owned(), name.into())));
    } else if rule.contains(['/', '.']) {
        return Err(Failure::usage(format!("there is no file {rule}")));
    } else {
        request.insert("rule".to_owned(), rule.into());
    }
    period.write(&mut request);
    request.insert("compare".to_owned(), compare.is_some().into());
    request.insert("samples".to_owned(), samples.into());
    let report = ask(&Value::Object(request), hub).await.map_err(|failure| failure.see("weir get rules"))?;
    if out.is_json() { out.json(&report) } else { out.line(shown(&report).trim_end()) }
}

async fn ask(request: &Value, hub: &Hub) -> Result<Value, Failure> {
    let mut lines = Documents::new(hub.post_stream(&["backtests"], request, "application/x-ndjson").await?);
    let mut bar = Bar::new();
    while let Some(mut line) = lines.next().await? {
        if let Some(progress) = line.get("progress") {
            bar.show(number(progress, "rows_passed"), number(progress, "rows"));
        }
        if let Some(report) = line.get_mut("report") {
            return Ok(report.take());
        }
    }
    Err(Failure::refused("the hub broke off its answer"))
}

/// The report for people.
fn shown(report: &Value) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _written = write_report(&mut text, report);
    text
}

fn write_report(out: &mut String, report: &Value) -> std::fmt::Result {
    let count = |key: &str| number(report, key);
    writeln!(
        out,
        "{} messages of its topics: {} matched, {} did not, {} could not be read",
        count("read"),
        count("matched"),
        count("unmatched"),
        count("failed")
    )?;
    for (path, count) in report.get("mismatches").and_then(Value::as_object).into_iter().flatten() {
        writeln!(out, "{path} was of another type in {count} messages, and NULL there")?;
    }
    let live: Vec<String> = items_of(report, "not_reproducible").iter().map(super::output::plain).collect();
    if !live.is_empty() {
        writeln!(out, "not reproducible: {} was read as it is now, not as it was then", live.join(", "))?;
    }
    for action in items_of(report, "actions") {
        write_action(out, action)?;
    }
    write_chart(out, items_of(report, "hours"))?;
    if let Some(comparison) = report.get("comparison").filter(|comparison| !comparison.is_null()) {
        write_comparison(out, comparison)?;
    }
    let evaluated = count("evaluated").max(1);
    let per_message = count("evaluate_us") as f64 / evaluated as f64;
    writeln!(
        out,
        "\ncost: {:.2} µs a message, {} ms of evaluation in {} ms{}",
        per_message,
        count("evaluate_us") / 1_000,
        count("elapsed_ms"),
        read(report.get("scan").unwrap_or(&Value::Null))
    )
}

fn write_action(out: &mut String, action: &Value) -> std::fmt::Result {
    let target = text(action, "target");
    let what = if number(action, "action") == 1_000 { format!("{target} (on error)") } else { target };
    write!(out, "\n{what} would have got {} rows, {} bytes", number(action, "rows"), number(action, "bytes"))?;
    match number(action, "invalid") {
        0 => writeln!(out)?,
        invalid => writeln!(out, "; {invalid} of them lack a value for a setting")?,
    }
    let samples = items_of(action, "samples");
    if samples.is_empty() {
        return Ok(());
    }
    let titles = ["TIME", "TOPIC", "SETTINGS", "ROW"].map(str::to_owned).into_iter();
    let rows = samples
        .iter()
        .map(|sample| vec![time(sample, "time"), text(sample, "topic"), settings(sample), payload(sample)]);
    writeln!(out, "{}", grid(titles, rows))
}

fn settings(sample: &Value) -> String {
    if let Some(failure) = sample.get("failure").and_then(Value::as_str) {
        return failure.to_owned();
    }
    let pair = |pair: &Value| {
        let value = pair.get(1).filter(|value| !value.is_null()).map_or("NULL".to_owned(), super::output::plain);
        format!("{}={value}", pair.get(0).map(super::output::plain).unwrap_or_default())
    };
    items_of(sample, "arguments").iter().map(pair).collect::<Vec<_>>().join(" ")
}

fn payload(sample: &Value) -> String {
    let text = text(sample, "payload");
    match text.char_indices().nth(PAYLOAD_WIDTH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Rows per hour; of more hours than fit, several to a line.
fn write_chart(out: &mut String, hours: &[Value]) -> std::fmt::Result {
    const HOUR: i64 = 3_600_000;
    let from = |hour: &Value| hour.get("from").and_then(Value::as_i64).unwrap_or(0).div_euclid(HOUR);
    let (Some(first), Some(last)) = (hours.first().map(from), hours.last().map(from)) else { return Ok(()) };
    let span = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
    let step = span.div_ceil(CHART_HOURS).max(1);
    let mut bars = vec![0_u64; span.div_ceil(step)];
    for hour in hours {
        let place = usize::try_from(from(hour) - first).unwrap_or(0) / step;
        if let Some(bar) = bars.get_mut(place) {
            *bar += number(hour, "rows");
        }
    }
    let most = bars.iter().copied().max().unwrap_or(0).max(1);
    match step {
        1 => writeln!(out, "\nrows per hour")?,
        step => writeln!(out, "\nrows per {step} hours")?,
    }
    for (place, rows) in bars.iter().enumerate() {
        let begin = super::output::utc((first + (place * step) as i64) * HOUR);
        let begin = begin.get(..16).unwrap_or(&begin).replace('T', " ");
        let width = usize::try_from((rows * CHART_WIDTH).div_ceil(most)).unwrap_or(0);
        writeln!(out, "{begin}  {:<1$}  {rows}", "#".repeat(width), CHART_WIDTH as usize)?;
    }
    Ok(())
}

fn write_comparison(out: &mut String, comparison: &Value) -> std::fmt::Result {
    let count = |key: &str| number(comparison, key);
    writeln!(
        out,
        "\nagainst the current version: {} rows the same, {} changed, {} added, {} removed",
        count("same"),
        count("changed"),
        count("added"),
        count("removed")
    )?;
    for difference in items_of(comparison, "differences") {
        let of = |key: &str| difference.get(key).filter(|sample| !sample.is_null());
        let any = of("after").or(of("before")).unwrap_or(&Value::Null);
        writeln!(out, "{}  {}", time(any, "time"), text(any, "topic"))?;
        for (sign, sample) in [("-", of("before")), ("+", of("after"))] {
            if let Some(sample) = sample {
                writeln!(out, "  {sign} {} {}", payload(sample), settings(sample))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_reads_as_a_person_would_tell_it() {
        let sample = json!({
            "offset": 1, "row": 0, "time": 1_769_839_200_000_i64, "topic": "A1B2C3D4E5/dev/event",
            "payload": "{\"temp\":31}", "arguments": [["topic", "A1B2C3D4E5/panel/control"]],
        });
        let report = json!({
            "read": 10, "matched": 3, "unmatched": 6, "failed": 1, "mismatches": { "temp": 2 },
            "not_reproducible": ["devices"],
            "actions": [{ "action": 0, "target": "republish", "rows": 3, "bytes": 33, "invalid": 1, "samples": [sample] }],
            "hours": [{ "from": 1_769_839_200_000_i64, "rows": 1 }, { "from": 1_769_846_400_000_i64, "rows": 2 }],
            "comparison": { "same": 1, "changed": 1, "added": 1, "removed": 0,
                "differences": [{ "action": 0, "before": null, "after": sample }] },
            "evaluated": 20, "evaluate_us": 30, "elapsed_ms": 4, "scan": { "rows_read": 20 },
        });
        let expected = "10 messages of its topics: 3 matched, 6 did not, 1 could not be read
temp was of another type in 2 messages, and NULL there
not reproducible: devices was read as it is now, not as it was then

republish would have got 3 rows, 33 bytes; 1 of them lack a value for a setting
TIME                  TOPIC                 SETTINGS                        ROW
2026-01-31T06:00:00Z  A1B2C3D4E5/dev/event  topic=A1B2C3D4E5/panel/control  {\"temp\":31}

rows per hour
2026-01-31 06:00  ####################                      1
2026-01-31 07:00                                            0
2026-01-31 08:00  ########################################  2

against the current version: 1 rows the same, 1 changed, 1 added, 0 removed
2026-01-31T06:00:00Z  A1B2C3D4E5/dev/event
  + {\"temp\":31} topic=A1B2C3D4E5/panel/control

cost: 1.50 µs a message, 0 ms of evaluation in 4 ms; 20 messages read
";
        assert_eq!(shown(&report), expected);
    }

    #[test]
    fn many_hours_share_a_line() {
        let mut chart = String::new();
        let hours: Vec<Value> = (0..100).map(|hour| json!({ "from": hour * 3_600_000, "rows": 1 })).collect();
        write_chart(&mut chart, &hours).unwrap();
        assert!(chart.starts_with("\nrows per 3 hours\n1970-01-01 00:00  ####"), "{chart}");
        assert_eq!(chart.lines().count(), 2 + 34);
    }
}

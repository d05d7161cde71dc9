//! `weir query`: SQL over the messages that the hub holds. Breaking it off ends it in the hub too.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::{
    documents::Documents,
    failure::Failure,
    hub::Hub,
    output::{Format, Output, grid, plain, text},
    period::Period,
    progress::Bar,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Such as "SELECT msg.device, temp FROM 'A1B2C3D4E5/+/event' WHERE temp > 30"
    sql: String,
    #[command(flatten)]
    period: Period,
}

pub(crate) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let mut request = Map::from_iter([("sql".to_owned(), args.sql.into())]);
    args.period.write(&mut request);
    let request = Value::Object(request);
    if out.format == Format::Arrow {
        return arrow(&request, hub).await;
    }
    let mut lines = Documents::new(hub.post_stream(&["query"], &request, "application/x-ndjson").await?);
    let (mut columns, mut rows, mut scan) = (Vec::new(), Vec::new(), Value::Null);
    let mut count = 0;
    let mut bar = Some(Bar::new());
    while let Some(mut line) = lines.next().await? {
        if let Some(progress) = line.get("progress") {
            if let Some(bar) = &mut bar {
                bar.show(number(progress, "rows_passed"), number(progress, "rows"));
            }
        } else if let Some(Value::Array(found)) = line.get_mut("columns").map(Value::take) {
            columns = found;
            if out.format == Format::Csv {
                csv(columns.iter().map(|column| text(column, "name")))?;
            }
        } else if let Some(Value::Array(found)) = line.get_mut("rows").map(Value::take) {
            count += found.len();
            if out.format == Format::Csv {
                // The bar is wiped out before the first row, so that they do not mix on a terminal.
                bar = None;
                for row in &found {
                    csv(row.as_array().into_iter().flatten().map(plain))?;
                }
            } else {
                rows.extend(found);
            }
        } else if let Some(counts) = line.get_mut("scan").map(Value::take) {
            scan = counts;
        }
    }
    drop(bar);
    match out.format {
        Format::Json => return out.json(&json!({ "columns": columns, "rows": rows, "scan": scan })),
        Format::Csv => io::stdout().lock().flush()?,
        Format::Table | Format::Arrow => {
            let titles = columns.iter().map(|column| text(column, "name"));
            let rows = rows.iter().map(|row| row.as_array().into_iter().flatten().map(plain).collect());
            out.line(&grid(titles, rows))?;
        }
    }
    eprintln!("{count} rows{}", read(&scan));
    Ok(())
}

/// Arrow's stream as the hub sends it, for whoever reads standard output.
async fn arrow(request: &Value, hub: &Hub) -> Result<(), Failure> {
    let mut response = hub.post_stream(&["query"], request, "application/vnd.apache.arrow.stream").await?;
    let broken = |_| Failure::refused("the query failed on its way; ask without -o arrow to be told why");
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        io::stdout().lock().write_all(&chunk)?;
    }
    Ok(io::stdout().lock().flush()?)
}

/// One line of comma-separated values (RFC 4180).
fn csv(cells: impl Iterator<Item = String>) -> Result<(), Failure> {
    let cells: Vec<String> = cells.map(|cell| quoted(&cell)).collect();
    let mut stdout = io::stdout().lock();
    stdout.write_all(cells.join(",").as_bytes())?;
    Ok(stdout.write_all(b"\r\n")?)
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

/// What was read for a result, and of how much.
pub(super) fn read(scan: &Value) -> String {
    let of = |read: &str, all: &str| format!("{} of {}", number(scan, read), number(scan, all));
    let messages = format!("{} messages read", number(scan, "rows_read"));
    if number(scan, "files") == 0 {
        return format!("; {messages}");
    }
    let (files, groups) = (of("files_read", "files"), of("row_groups_read", "row_groups"));
    format!("; {messages}, in {files} files and {groups} row groups")
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_commas_and_quotes_are_quoted() {
        let check = |cell: &str, expected: &str| assert_eq!(quoted(cell), expected);
        check("31.5", "31.5");
        check("a,b", "\"a,b\"");
        check("say \"x\"", "\"say \"\"x\"\"\"");
        check("a\nb", "\"a\nb\"");
    }

    #[test]
    fn what_was_read_is_told() {
        let scan = json!({ "files": 9, "files_read": 2, "row_groups": 20, "row_groups_read": 3, "rows_read": 77 });
        assert_eq!(read(&scan), "; 77 messages read, in 2 of 9 files and 3 of 20 row groups");
        assert_eq!(read(&json!({ "rows_read": 5 })), "; 5 messages read");
    }
}

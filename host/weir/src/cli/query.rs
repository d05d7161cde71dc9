//! `weir query`: SQL over the messages that the hub holds.

use serde_json::{Value, json};

use super::{
    failure::Failure,
    hub::Hub,
    output::{Output, grid, plain, text},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Such as "SELECT msg.device, temp FROM 'A1B2C3D4E5/+/event' WHERE temp > 30"
    sql: String,
}

pub(crate) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let answer = hub.post(&["query"], &json!({"sql": args.sql})).await?;
    if out.is_json() {
        return out.json(&answer);
    }
    let list = |key: &str| answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let titles = list("columns").iter().map(|column| text(column, "name"));
    let rows = list("rows").iter().map(|row| row.as_array().into_iter().flatten().map(plain).collect());
    out.line(&grid(titles, rows))?;
    eprintln!("{} rows", list("rows").len());
    Ok(())
}

//! `weir apply`: uploads a file of rules, sinks and indexes.

use std::{io::Read, path::PathBuf};

use serde_json::Value;

use super::{
    failure::Failure,
    hub::Hub,
    output::{Output, plain, text},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let answer = hub.post_text(&["apply"], read(&args.file)?).await?;
    let results = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for result in results {
        for warning in result.get("warnings").and_then(Value::as_array).into_iter().flatten() {
            eprintln!("warning: {} {}: {}", text(result, "kind"), text(result, "name"), plain(warning));
        }
    }
    if out.is_json() {
        return out.json(&answer);
    }
    if results.is_empty() {
        return out.line("nothing in it");
    }
    for result in results {
        out.line(&format!("{} {} {}", text(result, "kind"), text(result, "name"), text(result, "action")))?;
    }
    Ok(())
}

pub(super) fn read(file: &PathBuf) -> Result<String, Failure> {
    let script = if file.as_os_str() == "-" {
        let mut script = String::new();
        std::io::stdin().lock().read_to_string(&mut script).map(|_| script)
    } else {
        std::fs::read_to_string(file)
    };
    script.map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))
}

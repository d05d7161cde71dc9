//! `weir plugin test`: runs a component on this machine as the hub would, and says what became of each row.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::json;
use weir_core::{
    Grant, HostPort, Offset, PluginName, Principal,
    plugin::{PluginValues, Plugins},
    seams::{BoxFuture, Delivery, IdempotenceKey, Outcome, Settings, TargetContext},
};
use weir_log::Clock;
use weir_plugins::{PluginHost, PluginOptions, PluginServices, SystemResolver};

use super::{Failure, Output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A setting, as in WITH (…); can be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    with: Vec<(String, String)>,
    /// What it may touch: http=HOST:PORT, tcp=HOST:PORT or kv=BYTES; can be given again
    #[arg(long, value_name = "KIND=WHAT", value_parser = grant)]
    grant: Vec<Grant>,
    /// A row to write; can be given again
    #[arg(long, value_name = "JSON")]
    row: Vec<String>,
    /// A file of rows to write, one a line
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn grant(text: &str) -> Result<Grant, String> {
    let form = "write http=HOST:PORT, tcp=HOST:PORT or kv=BYTES";
    let (kind, what) = text.split_once('=').ok_or(form)?;
    let place = || what.parse::<HostPort>().map_err(|error| error.to_string());
    match kind {
        "http" => Ok(Grant::Http(place()?)),
        "tcp" => Ok(Grant::Tcp(place()?)),
        "kv" => Ok(Grant::Kv { bytes: what.parse().map_err(|_| form)? }),
        _ => Err(form.to_owned()),
    }
}

pub(super) async fn run(args: Args, out: Output) -> Result<(), Failure> {
    let component = super::read(&args.file)?;
    let cache = tempfile::tempdir().map_err(|error| Failure::refused(format!("no temporary folder: {error}")))?;
    let clock = Clock::system();
    let now = clock.now();
    let services = PluginServices {
        now: Arc::new(move || clock.now()),
        values: Arc::<Values>::default(),
        resolver: Arc::new(SystemResolver),
    };
    let refused = |error: &dyn std::fmt::Display| Failure::refused(error.to_string());
    let host = PluginHost::start(PluginOptions::new(cache.path()), services).map_err(|error| refused(&error))?;
    let name: PluginName = "tested".parse().map_err(|error| refused(&error))?;
    let summary = host.check(component.into()).await.map_err(|error| refused(&error))?;
    host.put_in_force(&name, &summary);
    let kind = host.target_kind(&name).ok_or_else(|| Failure::refused("the component is not a sink"))?;
    let context = TargetContext {
        rule: "test".parse().map_err(|error| refused(&error))?,
        owner: Principal::Administrator("test".parse().map_err(|error| refused(&error))?),
        sink: Some("tested".parse().map_err(|error| refused(&error))?),
        grants: args.grant,
    };
    let target = kind.open(&Settings(args.with), context).map_err(|error| Failure::refused(error.reason))?;
    let mut payloads = args.row;
    if let Some(file) = &args.rows {
        let failed = |error| Failure::usage(format!("cannot read {}: {error}", file.display()));
        let lines = BufReader::new(std::fs::File::open(file).map_err(failed)?).lines();
        payloads
            .extend(lines.collect::<Result<Vec<_>, _>>().map_err(failed)?.into_iter().filter(|line| !line.is_empty()));
    }
    let rule: weir_core::RuleName = "test".parse().map_err(|error| refused(&error))?;
    let row = |(offset, payload): (u64, String)| Delivery {
        key: IdempotenceKey { offset: Offset(offset), rule: rule.clone(), row: 0 },
        topic: "A1B2C3D4E5/dev/event".to_owned(),
        product: Some("A1B2C3D4E5".to_owned()),
        device: Some("dev".to_owned()),
        accepted_at: now.0,
        qos: 1,
        hop: 0,
        payload: payload.into_bytes().into(),
        arguments: Vec::new(),
        failure: None,
    };
    let rows: Vec<Delivery> = (0..).zip(payloads).map(row).collect();
    let outcomes = target.write(&rows).await;
    target.close().await;
    report(&outcomes, out)
}

fn report(outcomes: &[Outcome], out: Output) -> Result<(), Failure> {
    let shown = |outcome: &Outcome| match outcome {
        Outcome::Delivered => ("delivered", String::new()),
        Outcome::Rejected { reason, retry: false } => ("rejected", reason.clone()),
        Outcome::Rejected { reason, retry: true } => ("refused", reason.clone()),
        Outcome::Unavailable { reason, .. } => ("unavailable", reason.clone()),
    };
    let shown: Vec<(&str, String)> = outcomes.iter().map(shown).collect();
    if out.is_json() {
        let items: Vec<_> = shown.iter().map(|(what, why)| json!({ "outcome": what, "reason": why })).collect();
        out.json(&json!({ "items": items, "total": shown.len() }))?;
    } else {
        for (row, (what, why)) in shown.iter().enumerate() {
            out.line(format!("row {row} {what} {why}").trim_end())?;
        }
        if shown.is_empty() {
            out.line("the settings are good; give it rows by --row or --rows")?;
        }
    }
    match shown.iter().all(|(what, _)| *what == "delivered") {
        true => Ok(()),
        false => Err(Failure::refused("not every row was delivered")),
    }
}

/// Keys and values for as long as the command runs.
#[derive(Default)]
struct Values(Mutex<BTreeMap<String, Vec<u8>>>);

impl PluginValues for Values {
    fn get<'a>(&'a self, _owner: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, String>> {
        let found = self.0.lock().get(key).cloned();
        Box::pin(async { Ok(found) })
    }

    fn set<'a>(
        &'a self,
        _owner: &'a str,
        key: &'a str,
        value: Vec<u8>,
        limit: u64,
    ) -> BoxFuture<'a, Result<bool, String>> {
        let mut values = self.0.lock();
        let others: usize = values.iter().filter(|(name, _)| *name != key).map(|(k, v)| k.len() + v.len()).sum();
        let fits = (others + key.len() + value.len()) as u64 <= limit;
        if fits {
            values.insert(key.to_owned(), value);
        }
        Box::pin(async move { Ok(fits) })
    }

    fn delete<'a>(&'a self, _owner: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), String>> {
        self.0.lock().remove(key);
        Box::pin(async { Ok(()) })
    }
}

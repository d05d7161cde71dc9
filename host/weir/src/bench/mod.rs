//! `weir bench`: what messages and connections cost, on this machine, with nothing else in the way.
//!
//! Each run starts a hub of its own and ends it. The load comes from this process over loopback and shares the cores with
//! the broker, so what is compared with the peer is the broker's CPU time per message; the rate stands beside it. Every
//! message is counted where it arrives, and every rule's effect in the rule's own counters.

mod backtest;
mod coap;
mod connections;
mod fleet;
mod hub;
mod latency;
mod mosquitto;
mod payload;
mod process;
mod report;
mod shadows;
mod wire;
mod workloads;

use std::{
    future::Future,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use anyhow::{Context, Result};

use crate::{
    cli::{failure::Failure, output::Output},
    open_files,
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_long_help = workloads::EXPLANATION)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    workloads: workloads::Args,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Measure what idle connections cost
    Connections(connections::Args),
    /// Measure what a backtest over Parquet costs, beside DuckDB on the same files
    Backtest(backtest::Args),
    /// Measure what requests of CoAP cost, beside libcoap's server
    Coap(coap::Args),
    /// Measure what changes of shadows cost, beside a loop of upserts into SQLite
    Shadows(shadows::Args),
}

/// What every measurement may be told.
#[derive(Debug, clap::Args)]
struct Setup {
    /// What to measure; both if left out
    #[arg(long, value_enum, value_delimiter = ',')]
    broker: Vec<Broker>,
    /// Where the hub's data folder is made: what QoS 1 costs depends on the disk under it
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A setting of the hub, as for weir serve
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Threads of the load generator
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Broker {
    Weir,
    Mosquitto,
}

pub(crate) fn run(args: Args, out: Output) -> Result<(), Failure> {
    // Each connection is a file here and, as limits are inherited, one in the broker.
    open_files::raise();
    match &args.what {
        None => workloads::run(&args.workloads, out),
        Some(What::Connections(args)) => connections::run(args, out),
        Some(What::Backtest(args)) => backtest::run(args, out),
        Some(What::Coap(args)) => coap::run(args, out),
        Some(What::Shadows(args)) => shadows::run(args, out),
    }
}

impl Setup {
    fn place(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    fn wants(&self, broker: Broker) -> bool {
        self.broker.is_empty() || self.broker.contains(&broker)
    }

    /// mosquitto, if it is wanted and installed.
    fn peer(&self) -> Option<PathBuf> {
        self.wants(Broker::Mosquitto).then(mosquitto::installed).flatten()
    }

    /// What the hub's figures depend on besides the load.
    fn described(&self, place: &Path) -> String {
        let sync = self.set.iter().find_map(|setting| setting.strip_prefix("log.sync=")).unwrap_or("always");
        format!("weir {}: log.sync = {sync}; data in {}; {} cores", env!("CARGO_PKG_VERSION"), place.display(), cores())
    }
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Runs a measurement, unless it is interrupted. What it started ends with it.
fn block_on<T>(setup: &Setup, measurement: impl Future<Output = Result<T>>) -> Result<T, Failure> {
    let place = setup.place();
    if let Some(kind) = memory_file_system(&place) {
        eprintln!("warning: {} is a {kind}, where a sync costs nothing; choose a disk by --dir", place.display());
    }
    if setup.wants(Broker::Mosquitto) && mosquitto::installed().is_none() {
        eprintln!("mosquitto is not installed, so there is nothing to compare with (apt-get install mosquitto)");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(setup.threads))
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        tokio::select! {
            measured = measurement => Ok(measured?),
            () = interrupted() => Err(Failure::refused("interrupted")),
        }
    })
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        Some(()) = terminate.recv() => {}
    }
}

/// The kind of file system `place` is on, if that keeps files in memory only.
fn memory_file_system(place: &Path) -> Option<String> {
    let place = place.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    // The last mount at the longest path is the one that is seen.
    let (_, kind) = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| place.starts_with(point))
        .enumerate()
        .max_by_key(|(order, (point, _))| (point.len(), *order))
        .map(|(_, mount)| mount)?;
    matches!(kind, "tmpfs" | "ramfs").then(|| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_in_memory_is_noticed() {
        assert_eq!(memory_file_system(Path::new("/proc")), None);
        if Path::new("/dev/shm").is_dir() {
            assert_eq!(memory_file_system(Path::new("/dev/shm")).as_deref(), Some("tmpfs"));
        }
    }

    #[test]
    fn rules_differ_and_one_matches() {
        let script = hub::script(100);
        let conditions: std::collections::HashSet<&str> =
            script.lines().filter_map(|line| line.split_once(" WHERE ").map(|(_, condition)| condition)).collect();
        assert_eq!(conditions.len(), 100);
        assert!(conditions.contains("temp > 30;"));
    }
}

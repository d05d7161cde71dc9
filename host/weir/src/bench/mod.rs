//! `weir bench`: what a message costs, on this machine, with nothing else in the way.
//!
//! Each scenario starts a hub of its own and ends it. The load comes from this process over loopback and shares the
//! cores with the broker, so what is compared with the peer is the broker's CPU time per message; the rate stands beside
//! it. Every message is counted where it arrives, and every rule's effect in the rule's own counters.

mod fleet;
mod hub;
mod latency;
mod mosquitto;
mod payload;
mod process;
mod report;
mod wire;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::cli::{failure::Failure, output::Output};
use fleet::{Fleet, Load, Outcome};
use hub::{HubUnderTest, PRODUCT};
use mosquitto::Mosquitto;
use process::{Process, own_cpu_seconds};
use report::{EFFECT, Figures, Percentiles, Run};
use wire::Login;

const EXPLANATION: &str = "\
Scenarios:
  qos0     devices publish telemetry at QoS 0 to PRODUCT/DEVICE/event; one application
           subscribes to all of it; at most 10,000 messages are on their way at any time
  qos1     the same at QoS 1, with --window messages in flight for each device; the hub syncs
           to disk before it acknowledges, unless --set log.sync says otherwise
  latency  one device publishes at QoS 1 to an idle hub, a rule republishes to another device;
           timed from the publish to the delivery of what the rule made

The hub runs with its defaults but for the rates of devices and of connects, which are off
(limits.device_messages_per_second and the like); --set sets anything else.

Payloads are JSON of 197 bytes with 11 keys. One in ten has a temperature above 30. With
rules, the first is SELECT temp FROM 'PRODUCT/+/event' WHERE temp > 30, republished to a
topic that nobody subscribes to; each other has a condition of its own (other fields, other
thresholds) that no payload meets. A run ends when every rule has read every message and its
effects are in the log; that every effect happened is checked.

CPU is user and system time of the broker's process until then, divided by the messages. A
warm-up of a tenth of the load goes before and is not counted. mosquitto, if it is installed,
gets the same load and the same subscriber, without rules and without a disk. Ratios are the
hub's figure divided by mosquitto's.";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXPLANATION)]
pub(crate) struct Args {
    /// What to measure; all if left out
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Messages of a run
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(100..))]
    messages: u64,
    /// Devices that publish
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    publishers: u32,
    /// Unacknowledged messages of one device at QoS 1
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    window: u16,
    /// How many rules to measure with
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [0, 1, 100])]
    rules: Vec<u16>,
    /// Seconds after which a run ends even if messages are left
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Messages of the latency scenario
    #[arg(long, default_value_t = 500)]
    samples: u32,
    /// Where the hub's data folder is made: what QoS 1 costs depends on the disk under it
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A setting of the hub, as for weir serve
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Do not measure mosquitto
    #[arg(long)]
    no_peer: bool,
    /// Threads of the load generator
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    Qos0,
    Qos1,
    Latency,
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::Qos0 => "qos0",
            Self::Qos1 => "qos1",
            Self::Latency => "latency",
        }
    }
}

pub(crate) fn run(args: Args, out: Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(args.threads))
        .enable_all()
        .build()
        .context("cannot start")?;
    let place = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    if let Some(kind) = memory_file_system(&place) {
        eprintln!("warning: {} is a {kind}, where a sync costs nothing; choose a disk by --dir", place.display());
    }
    let runs = runtime.block_on(async {
        tokio::select! {
            runs = measure(&args, &place) => Ok(runs?),
            // What was started ends with the future that is dropped here.
            () = interrupted() => Err(Failure::refused("interrupted")),
        }
    })?;
    if out.is_json() {
        let settings = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "publishers": args.publishers,
            "window": args.window,
            "settings": args.set,
            "folder": place,
            "runs": report::as_json(&runs),
        });
        return out.json(&settings);
    }
    out.line(&report::as_table(&runs))?;
    let sync = args.set.iter().find_map(|setting| setting.strip_prefix("log.sync=")).unwrap_or("always");
    out.line(&format!("\n{} publishers; log.sync = {sync}; data in {}", args.publishers, place.display()))
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        Some(()) = terminate.recv() => {}
    }
}

async fn measure(args: &Args, place: &Path) -> Result<Vec<Run>> {
    let wanted = |scenario| args.scenario.is_empty() || args.scenario.contains(&scenario);
    let at_most = Duration::from_secs(args.seconds);
    let peer = if args.no_peer { None } else { mosquitto::installed() };
    let mut runs = Vec::new();
    for (scenario, qos, latency_of) in [(Scenario::Qos0, 0, "delivery"), (Scenario::Qos1, 1, "ack")] {
        if !wanted(scenario) {
            continue;
        }
        let name = scenario.name();
        for rules in args.rules.iter().copied().map(usize::from) {
            eprintln!("{name}: weir, {rules} rules …");
            let figures =
                hub_run(args, place, qos, rules).await.with_context(|| format!("{name} with {rules} rules"))?;
            runs.push(Run { scenario: name, broker: "weir", rules, latency_of, figures });
        }
        if let Some(program) = &peer {
            eprintln!("{name}: mosquitto …");
            let figures = peer_run(args, program, qos).await.with_context(|| format!("{name} with mosquitto"))?;
            runs.push(Run { scenario: name, broker: "mosquitto", rules: 0, latency_of, figures });
        }
    }
    if wanted(Scenario::Latency) {
        eprintln!("latency: weir …");
        let hub = HubUnderTest::start(place, &args.set).await?;
        let figures = latency::measure(&hub, args.samples as usize, at_most).await.context("latency")?;
        runs.push(Run { scenario: "latency", broker: "weir", rules: 1, latency_of: EFFECT, figures });
    }
    if peer.is_none() && !args.no_peer && (wanted(Scenario::Qos0) || wanted(Scenario::Qos1)) {
        eprintln!("mosquitto is not installed, so there is nothing to compare with (apt-get install mosquitto)");
    }
    Ok(runs)
}

async fn hub_run(args: &Args, place: &Path, qos: u8, rules: usize) -> Result<Figures> {
    let hub = HubUnderTest::start(place, &args.set).await?;
    let devices = hub.devices(args.publishers as usize).await?;
    let application = hub.application().await?;
    if rules > 0 {
        hub.apply(hub::script(rules)).await?;
    }
    let window = usize::from(args.window);
    let mut fleet = Fleet::connect(&hub.mqtt, PRODUCT, &devices, &application, qos, window).await?;
    let warm_up = fleet.send(warm_up(args)).await.context("warm-up")?;
    hub.settle(rules, warm_up.sent, warm_up.hot).await?;
    let before = (hub.process.cpu_seconds()?, own_cpu_seconds());
    let outcome = fleet.send(load(args)).await?;
    let generator = own_cpu_seconds() - before.1;
    hub.settle(rules, warm_up.sent + outcome.sent, warm_up.hot + outcome.hot).await?;
    figures(&hub.process, outcome, before.0, generator, qos)
}

async fn peer_run(args: &Args, program: &Path, qos: u8) -> Result<Figures> {
    let mosquitto = Mosquitto::start(program).await?;
    let login = |number: usize| Login {
        client_id: format!("{PRODUCT}{}", payload::device_name(number)),
        user: format!("{PRODUCT}/{}", payload::device_name(number)),
        password: "anonymous".to_owned(),
    };
    let devices: Vec<Login> = (0..args.publishers as usize).map(login).collect();
    let application =
        Login { client_id: "bench".to_owned(), user: "bench".to_owned(), password: "anonymous".to_owned() };
    let window = usize::from(args.window);
    let mut fleet = Fleet::connect(&mosquitto.address, PRODUCT, &devices, &application, qos, window).await?;
    fleet.send(warm_up(args)).await.context("warm-up")?;
    let before = (mosquitto.process.cpu_seconds()?, own_cpu_seconds());
    let outcome = fleet.send(load(args)).await?;
    let generator = own_cpu_seconds() - before.1;
    figures(&mosquitto.process, outcome, before.0, generator, qos)
}

fn load(args: &Args) -> Load {
    Load { messages: args.messages, at_most: Duration::from_secs(args.seconds) }
}

fn warm_up(args: &Args) -> Load {
    Load { messages: args.messages / 10, at_most: Duration::from_secs(args.seconds) }
}

fn figures(process: &Process, outcome: Outcome, cpu_before: f64, generator: f64, qos: u8) -> Result<Figures> {
    let lost = outcome.sent.saturating_sub(outcome.received);
    ensure!(outcome.received <= outcome.sent, "{} messages were sent and {} arrived", outcome.sent, outcome.received);
    ensure!(qos == 0 || lost == 0, "{lost} of {} acknowledged messages did not arrive", outcome.sent);
    let (rss_bytes, peak_rss_bytes) = process.memory()?;
    Ok(Figures {
        messages: outcome.received,
        lost,
        seconds: outcome.elapsed.as_secs_f64(),
        latency: Percentiles::of(outcome.latencies),
        cpu_seconds: process.cpu_seconds()? - cpu_before,
        generator_cpu_seconds: Some(generator),
        rss_bytes,
        peak_rss_bytes,
    })
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

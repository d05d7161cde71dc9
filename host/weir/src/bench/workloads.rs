//! What a message costs: the hub and its peer under the same load.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    Broker, fleet,
    fleet::{Fleet, Load, Outcome, Parties, Timed},
    hub::{self, HubUnderTest, PRODUCT},
    latency,
    mosquitto::{self, Mosquitto},
    payload,
    process::{Process, own_cpu_seconds},
    report::{self, EFFECT, Figures, Percentiles, Run},
    wire::Login,
};
use crate::cli::{failure::Failure, output::Output};

pub(super) const EXPLANATION: &str = "\
Scenarios, each at every --qos:
  fan-in   --publishers devices publish telemetry to PRODUCT/DEVICE/event; one application
           subscribes to all of it
  fan-out  one device publishes; --subscribers connections of an application hear it. A
           message is counted once for each delivery
  pairs    --pairs devices publish, and each has a subscriber of its own
  latency  one device publishes at QoS 1 to an idle hub, a rule republishes to another device;
           timed from the publish to the delivery of what the rule made

At QoS 1 and 2 each publisher has --window messages that are not acknowledged yet. All
together have at most 10,000 messages (fan-out: 100) that were sent and not yet delivered, so
that no broker drops any. The hub syncs to disk before it acknowledges, unless --set log.sync
says otherwise.

Payloads are JSON of 197 bytes with 11 keys. One in ten has a temperature above 30. Rules are
measured in fan-in: the first is SELECT temp FROM 'PRODUCT/+/event' WHERE temp > 30,
republished to a topic that nobody subscribes to; each other has a condition of its own (other
fields, other thresholds) that no payload meets. A run ends when every rule has read every
message and its effects are in the log; that every effect happened is checked.

CPU is user and system time of the broker's process until then, divided by the messages. A
warm-up of a tenth of the load goes before and is not counted. Latency is from the publish to
the delivery, of every sixteenth message; in fan-in at QoS 1 and 2 it is to the publisher's
acknowledgement. mosquitto, if it is installed, gets the same load and the same subscribers,
without rules and without a disk. What it loses at QoS 1 and 2 is in LOST; that the hub loses
none is checked. Ratios are the hub's figure divided by mosquitto's.

`weir bench connections` measures what an idle connection costs.";

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// What to measure; all if left out
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Quality of service of publishers and subscribers
    #[arg(long, value_name = "QOS,…", value_delimiter = ',', default_values_t = [0, 1, 2], value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Vec<u8>,
    /// Messages of a run; in fan-out, deliveries
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(100..))]
    messages: u64,
    /// Devices that publish in fan-in
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    publishers: u32,
    /// Subscribers in fan-out
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    subscribers: u32,
    /// Publishers that have a subscriber each
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pairs: u32,
    /// Unacknowledged messages of one publisher at QoS 1 and 2
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    window: u16,
    /// How many rules to measure with in fan-in
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [0, 1, 100])]
    rules: Vec<u16>,
    /// Seconds after which a run ends even if messages are left
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Messages of the latency scenario
    #[arg(long, default_value_t = 500)]
    samples: u32,
    #[command(flatten)]
    setup: super::Setup,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    FanIn,
    FanOut,
    Pairs,
    Latency,
}

impl Scenario {
    /// Those that load a broker.
    const LOADS: [Self; 3] = [Self::FanIn, Self::FanOut, Self::Pairs];

    fn name(self) -> &'static str {
        match self {
            Self::FanIn => "fan-in",
            Self::FanOut => "fan-out",
            Self::Pairs => "pairs",
            Self::Latency => "latency",
        }
    }
}

pub(super) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let place = args.setup.place();
    let runs = super::block_on(&args.setup, measure(args, &place))?;
    let peer = args.setup.peer().as_deref().map(mosquitto::version).transpose()?;
    if out.is_json() {
        return out.json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": super::cores(),
            "publishers": args.publishers,
            "subscribers": args.subscribers,
            "pairs": args.pairs,
            "window": args.window,
            "payload_bytes": payload::BYTES,
            "settings": args.setup.set,
            "folder": place,
            "peer": peer.map(|version| json!({"version": version, "settings": mosquitto::SETTINGS})),
            "runs": report::as_json(&runs),
        }));
    }
    out.line(&report::as_table(&runs))?;
    let Args { publishers, subscribers, pairs, window, .. } = args;
    out.line(&format!(
        "\nfan-in: {publishers} publishers; fan-out: {subscribers} subscribers, messages are deliveries; pairs: {pairs}; \
         {window} in flight for each publisher at QoS 1 and 2; at most {} outstanding, in fan-out {}",
        fleet::WINDOW,
        fleet::FAN_OUT_WINDOW,
    ))?;
    out.line(&args.setup.described(&place))?;
    match peer {
        Some(version) => out.line(&format!("{version}: {}", mosquitto::SETTINGS.join("; "))),
        None => Ok(()),
    }
}

async fn measure(args: &Args, place: &Path) -> Result<Vec<Run>> {
    let wanted = |scenario| args.scenario.is_empty() || args.scenario.contains(&scenario);
    let peer = args.setup.peer();
    let mut runs = Vec::new();
    for scenario in Scenario::LOADS.into_iter().filter(|scenario| wanted(*scenario)) {
        let name = scenario.name();
        for qos in args.qos.iter().copied() {
            let timed = if scenario == Scenario::FanIn && qos > 0 { Timed::Acknowledgement } else { Timed::Delivery };
            let latency_of = if timed == Timed::Delivery { "delivery" } else { "ack" };
            let shape = Shape { scenario, qos, timed };
            let rules = if scenario == Scenario::FanIn { args.rules.as_slice() } else { &[0] };
            for rules in rules.iter().copied().map(usize::from).filter(|_| args.setup.wants(Broker::Weir)) {
                eprintln!("{name} at QoS {qos}: weir, {rules} rules …");
                let figures = hub_run(args, place, shape, rules).await;
                let figures = figures.with_context(|| format!("{name} at QoS {qos} with {rules} rules"))?;
                runs.push(Run { scenario: name, qos, broker: "weir", rules, latency_of, figures });
            }
            if let Some(program) = &peer {
                eprintln!("{name} at QoS {qos}: mosquitto …");
                let figures = peer_run(args, program, shape).await;
                let figures = figures.with_context(|| format!("{name} at QoS {qos} with mosquitto"))?;
                runs.push(Run { scenario: name, qos, broker: "mosquitto", rules: 0, latency_of, figures });
            }
        }
    }
    if wanted(Scenario::Latency) && args.setup.wants(Broker::Weir) {
        eprintln!("latency: weir …");
        let hub = HubUnderTest::start(place, &args.setup.set).await?;
        let at_most = Duration::from_secs(args.seconds);
        let figures = latency::measure(&hub, args.samples as usize, at_most).await.context("latency")?;
        let scenario = Scenario::Latency.name();
        runs.push(Run { scenario, qos: 1, broker: "weir", rules: 1, latency_of: EFFECT, figures });
    }
    Ok(runs)
}

/// What a run is like, whoever the broker is.
#[derive(Debug, Clone, Copy)]
struct Shape {
    scenario: Scenario,
    qos: u8,
    timed: Timed,
}

impl Shape {
    /// How many devices publish, and how many applications hear them.
    fn parties(self, args: &Args) -> (usize, usize) {
        match self.scenario {
            Scenario::FanIn | Scenario::Latency => (args.publishers as usize, 1),
            Scenario::FanOut => (1, args.subscribers as usize),
            Scenario::Pairs => (args.pairs as usize, args.pairs as usize),
        }
    }

    async fn connect(self, args: &Args, address: &str, devices: Vec<Login>, heard_by: Vec<Login>) -> Result<Fleet> {
        let topic = |number: usize| format!("{PRODUCT}/{}/event", payload::device_name(number));
        let filter = |number: usize| match self.scenario {
            Scenario::FanIn | Scenario::Latency => format!("{PRODUCT}/+/event"),
            Scenario::FanOut => topic(0),
            Scenario::Pairs => topic(number),
        };
        let parties = Parties {
            fan: if self.scenario == Scenario::FanOut { heard_by.len() } else { 1 },
            publishers: devices.into_iter().enumerate().map(|(number, login)| (login, topic(number))).collect(),
            subscribers: heard_by.into_iter().enumerate().map(|(number, login)| (login, filter(number))).collect(),
            qos: self.qos,
            window: usize::from(args.window),
            timed: self.timed,
        };
        Fleet::connect(address, parties).await
    }

    fn load(self, args: &Args) -> Load {
        let fan = if self.scenario == Scenario::FanOut { u64::from(args.subscribers) } else { 1 };
        Load { messages: (args.messages / fan).max(1), at_most: Duration::from_secs(args.seconds) }
    }

    fn warm_up(self, args: &Args) -> Load {
        let load = self.load(args);
        Load { messages: (load.messages / 10).max(1), ..load }
    }
}

async fn hub_run(args: &Args, place: &Path, shape: Shape, rules: usize) -> Result<Figures> {
    let hub = HubUnderTest::start(place, &args.setup.set).await?;
    let (publishers, subscribers) = shape.parties(args);
    let devices = hub.devices(publishers).await?;
    let applications = hub.applications(subscribers).await?;
    if rules > 0 {
        hub.apply(hub::script(rules)).await?;
    }
    let mut fleet = shape.connect(args, &hub.endpoints.mqtt, devices, applications).await?;
    let warm_up = fleet.send(shape.warm_up(args)).await.context("warm-up")?;
    hub.settle(rules, warm_up.sent, warm_up.hot).await?;
    let before = (hub.process.cpu_seconds()?, own_cpu_seconds());
    let outcome = fleet.send(shape.load(args)).await?;
    let generator = own_cpu_seconds() - before.1;
    hub.settle(rules, warm_up.sent + outcome.sent, warm_up.hot + outcome.hot).await?;
    let Outcome { expected, received, .. } = outcome;
    let lost = expected.saturating_sub(received);
    ensure!(shape.qos == 0 || lost == 0, "{lost} of {expected} deliveries of acknowledged messages did not arrive");
    figures(&hub.process, outcome, before.0, generator)
}

async fn peer_run(args: &Args, program: &Path, shape: Shape) -> Result<Figures> {
    let mosquitto = Mosquitto::start(program, &[]).await?;
    let device = |number: usize| Login {
        client_id: format!("{PRODUCT}{}", payload::device_name(number)),
        user: format!("{PRODUCT}/{}", payload::device_name(number)),
        password: "anonymous".to_owned(),
    };
    let (publishers, subscribers) = shape.parties(args);
    let devices = (0..publishers).map(device).collect();
    let applications = (0..subscribers).map(|number| hub::application(number, "anonymous")).collect();
    let mut fleet = shape.connect(args, &mosquitto.address, devices, applications).await?;
    fleet.send(shape.warm_up(args)).await.context("warm-up")?;
    let before = (mosquitto.process.cpu_seconds()?, own_cpu_seconds());
    let outcome = fleet.send(shape.load(args)).await?;
    let generator = own_cpu_seconds() - before.1;
    figures(&mosquitto.process, outcome, before.0, generator)
}

fn figures(process: &Process, outcome: Outcome, cpu_before: f64, generator: f64) -> Result<Figures> {
    let Outcome { expected, received, .. } = outcome;
    let lost = expected.saturating_sub(received);
    ensure!(received <= expected, "{expected} deliveries were to be, and {received} were");
    let (rss_bytes, peak_rss_bytes) = process.memory()?;
    Ok(Figures {
        messages: received,
        lost,
        seconds: outcome.elapsed.as_secs_f64(),
        latency: Percentiles::of(outcome.latencies),
        cpu_seconds: process.cpu_seconds()? - cpu_before,
        generator_cpu_seconds: Some(generator),
        rss_bytes,
        peak_rss_bytes,
    })
}

//! What idle connections cost: a crowd of devices connects, stays, and leaves; the broker's resident memory is read
//! before, meanwhile and after.

mod crowd;
mod door;
mod figures;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;
use tempfile::TempDir;
use weir_log::Clock;
use weir_tls::Authority;

use super::{
    Broker,
    hub::{DeviceKey, HubUnderTest, PRODUCT},
    mosquitto::{self, Mosquitto},
    payload,
    process::Process,
    report::Percentiles,
    wire::Login,
};
use crate::{
    cli::{failure::Failure, output::Output},
    open_files,
};
use crowd::{Crowd, Opening};
use door::Door;
use figures::{Figures, Memory, Run};

const EXPLANATION: &str = "\
Each connection is a device that connects with a clean session and a keep-alive of an hour,
subscribes to one topic of its own with --subscribe, and then says nothing. Connections come
from addresses of 127.0.0.0/8, so that ports do not run out.

Memory is the resident memory of the broker's process: BEFORE anybody connects (devices are
made by then), WITH everybody connected, AFTER all have left, each once it has been still for
five seconds. KIB/CONN is the difference of the first two, divided by the connections. What the
kernel holds for sockets is not in it. A connection is LOST if the broker has closed it
meanwhile. Why others FAILED is said below the table.

Each connection is an open file here and in the broker. Where the hard limit on open files
leaves no room for --count connections, nothing is measured, and it is said what is missing.";

/// Seconds of keep-alive: nothing is sent while memory is read.
const KEEP_ALIVE: u16 = 3_600;
/// For how long memory must not have moved, and how often it is read.
const STILL: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(250);
/// How long it may move before it is taken as it is.
const AT_MOST: Duration = Duration::from_secs(20);
/// How much counts as moving.
const MOVE_BYTES: u64 = 256 * 1024;
/// How long a broker may take to notice that everybody has left.
const LEAVING: Duration = Duration::from_secs(60);
/// Files that a broker may open or close by itself meanwhile.
const FILES: usize = 16;

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXPLANATION)]
pub(super) struct Args {
    /// Connections to open
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Over TLS
    #[arg(long)]
    tls: bool,
    /// Over TLS with a pre-shared key for each device
    #[arg(long, conflicts_with_all = ["tls", "ws"])]
    psk: bool,
    /// Over WebSocket; with --tls, over secure WebSocket
    #[arg(long)]
    ws: bool,
    /// Each subscribes to a topic of its own
    #[arg(long)]
    subscribe: bool,
    /// Connections that are being opened at one time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    at_once: u16,
    #[command(flatten)]
    setup: super::Setup,
}

pub(super) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let allowed = open_files::raise();
    if let Err(room) = open_files::room_for(u64::from(args.count), allowed) {
        let Args { count, .. } = args;
        return Err(Failure::refused(format!(
            "{count} connections are {count} open files, here and in the broker, and the hard limit for a process is \
             {allowed}: there is room for {room}"
        ))
        .hint(&format!("{}; or measure fewer: --count {room}", open_files::REMEDY)));
    }
    let place = args.setup.place();
    let runs = super::block_on(&args.setup, measure(args, &place))?;
    let peer = args.setup.peer().as_deref().map(mosquitto::version).transpose()?;
    if out.is_json() {
        return out.json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": super::cores(),
            "connections": args.count,
            "transport": args.transport(),
            "subscribed": args.subscribe,
            "settings": args.setup.set,
            "open_files": allowed,
            "peer": peer.map(|version| json!({"version": version, "settings": mosquitto::SETTINGS})),
            "runs": figures::as_json(&runs),
        }));
    }
    out.line(&figures::as_table(&runs))?;
    for line in figures::errors(&runs) {
        out.line(&line)?;
    }
    let subscribed = if args.subscribe { "one subscription each" } else { "no subscriptions" };
    out.line(&format!("\n{} over {}, {subscribed}; open files allowed: {allowed}", args.count, args.transport()))?;
    out.line(&args.setup.described(&place))?;
    match peer {
        Some(version) => out.line(&format!("{version}: {}", mosquitto::SETTINGS.join("; "))),
        None => Ok(()),
    }
}

impl Args {
    fn transport(&self) -> &'static str {
        match (self.ws, self.tls, self.psk) {
            (true, true, _) => "wss",
            (true, false, _) => "ws",
            (false, true, _) => "tls",
            (false, false, true) => "psk",
            (false, false, false) => "tcp",
        }
    }

    fn door(&self, ca: &Path) -> Result<Door> {
        let door = if self.tls {
            Door::tls(ca)?
        } else if self.psk {
            Door::psk()?
        } else {
            Door::plain()
        };
        Ok(if self.ws { door.with_websocket() } else { door })
    }

    fn opening(&self, address: &str, door: Door) -> Result<Opening> {
        Ok(Opening {
            address: address.parse().context("a broker listens at no address")?,
            door,
            keep_alive: KEEP_ALIVE,
            at_once: usize::from(self.at_once),
            topic: self.subscribe.then_some(|number| format!("{PRODUCT}/{}/control", payload::device_name(number))),
        })
    }
}

/// Who connects, with a key where there is one.
type Devices = Vec<(Login, Option<DeviceKey>)>;

async fn measure(args: &Args, place: &Path) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    if args.setup.wants(Broker::Weir) {
        eprintln!("weir: {} connections over {} …", args.count, args.transport());
        runs.push(Run { broker: "weir", figures: hub_run(args, place).await.context("weir")? });
    }
    if let Some(program) = args.setup.peer() {
        eprintln!("mosquitto: {} connections over {} …", args.count, args.transport());
        runs.push(Run { broker: "mosquitto", figures: peer_run(args, &program).await.context("mosquitto")? });
    }
    Ok(runs)
}

async fn hub_run(args: &Args, place: &Path) -> Result<Figures> {
    let count = args.count as usize;
    // Some leave while others come, and what the user says comes after.
    let room = count.saturating_mul(2).max(100_000);
    let mut settings = vec![format!("limits.connections={room}"), format!("limits.connections_per_address={room}")];
    settings.extend_from_slice(&args.setup.set);
    let hub = HubUnderTest::start(place, &settings).await?;
    let devices: Devices = if args.psk {
        let made = hub.devices_with_keys(count).await?;
        made.into_iter().map(|(login, key)| (login, Some(key))).collect()
    } else {
        hub.devices(count).await?.into_iter().map(|login| (login, None)).collect()
    };
    let address = match (args.ws, args.tls || args.psk) {
        (false, false) => Some(&hub.endpoints.mqtt),
        (false, true) => hub.endpoints.mqtts.as_ref(),
        (true, false) => Some(&hub.endpoints.ws),
        (true, true) => hub.endpoints.wss.as_ref(),
    };
    let address = address.with_context(|| format!("this hub does not listen for {}", args.transport()))?;
    let [ca, ..] = hub.tls_files();
    idle(&args.opening(address, args.door(&ca)?)?, devices, &hub.process).await
}

async fn peer_run(args: &Args, program: &Path) -> Result<Figures> {
    let folder = tempfile::Builder::new().prefix("weir-bench-").tempdir()?;
    let devices = strangers(args)?;
    let (ca, listener) = peer_listener(args, &folder, &devices)?;
    let mosquitto = Mosquitto::start(program, &listener).await?;
    idle(&args.opening(&mosquitto.address, args.door(&ca)?)?, devices, &mosquitto.process).await
}

/// Devices that nobody has to know, named as those of the hub.
fn strangers(args: &Args) -> Result<Devices> {
    let device = |number: usize| {
        let name = payload::device_name(number);
        let identity = format!("{PRODUCT}{name}");
        if !args.psk {
            let (user, password) = (format!("{PRODUCT}/{name}"), "anonymous".to_owned());
            return Ok((Login { client_id: identity, user, password }, None));
        }
        let mut key = vec![0; 16];
        getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let login = Login { client_id: identity.clone(), user: String::new(), password: String::new() };
        Ok((login, Some(DeviceKey { identity, key })))
    };
    (0..args.count as usize).map(device).collect()
}

/// What mosquitto's listener is told, and where the certificate of its authority is.
fn peer_listener(args: &Args, folder: &TempDir, devices: &Devices) -> Result<(std::path::PathBuf, Vec<String>)> {
    let mut lines = Vec::new();
    let tls = folder.path().join("tls");
    let ca = tls.join("ca.pem");
    if args.tls {
        let now = Clock::system().now();
        let authority = Authority::open(&tls, now)?;
        authority.server_certificate(&["127.0.0.1".parse()?], now)?;
        lines.push(format!("certfile {}", tls.join("server.pem").display()));
        lines.push(format!("keyfile {}", tls.join("server.key").display()));
    }
    if args.psk {
        let hex = |key: &[u8]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let keys = devices.iter().filter_map(|(_, key)| key.as_ref());
        let text: String = keys.map(|key| format!("{}:{}\n", key.identity, hex(&key.key))).collect();
        let file = folder.path().join("keys");
        std::fs::write(&file, text)?;
        lines.push("psk_hint bench".to_owned());
        lines.push(format!("psk_file {}", file.display()));
    }
    if args.ws {
        lines.push(mosquitto::WEBSOCKETS.to_owned());
    }
    Ok((ca, lines))
}

/// Lets everybody come, stay and go.
async fn idle(opening: &Opening, devices: Devices, broker: &Process) -> Result<Figures> {
    let count = devices.len();
    let before = still(broker).await?;
    let (files, cpu) = (broker.open_files()?, broker.cpu_seconds()?);
    let crowd = Crowd::gather(opening, devices).await;
    let cpu_seconds = broker.cpu_seconds()? - cpu;
    let with = still(broker).await?;
    let (open, lost) = crowd.count_open();
    let Crowd { elapsed, latencies, errors, .. } = crowd.leave();
    let gone = leave(broker, files + FILES).await?;
    let after = still(broker).await?;
    Ok(Figures {
        wanted: count,
        open,
        lost,
        errors,
        noticed_leaving: gone,
        seconds: elapsed.as_secs_f64(),
        latency: Percentiles::of(latencies),
        cpu_seconds,
        memory: Memory { before, with, after },
    })
}

/// Resident memory, once it has been still for a while.
async fn still(broker: &Process) -> Result<u64> {
    let (mut waited, mut quiet) = (Duration::ZERO, Duration::ZERO);
    let (mut resident, _) = broker.memory()?;
    while quiet < STILL && waited < AT_MOST {
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
        let (now, _) = broker.memory()?;
        if now.abs_diff(resident) > MOVE_BYTES {
            (resident, quiet) = (now, Duration::ZERO);
        } else {
            quiet += LOOK;
        }
    }
    Ok(broker.memory()?.0)
}

/// Waits until the broker has closed what its clients have left. Says whether it has.
async fn leave(broker: &Process, files: usize) -> Result<bool> {
    let mut waited = Duration::ZERO;
    while broker.open_files()? > files {
        if waited > LEAVING {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
    Ok(true)
}

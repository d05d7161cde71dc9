//! What requests of CoAP cost, beside libcoap's server in the same run; and what a session of DTLS takes of memory.

mod client;

use std::{
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    hub::{HubUnderTest, PRODUCT},
    payload,
    process::Process,
    report::Percentiles,
};
use crate::cli::{
    failure::Failure,
    output::{Output, grid},
};
use client::{Client, Handshaken};

const EXPLANATION: &str = "\
Each client sends small confirmable POSTs, the next when the one before is answered. The hub
answers when the message is durable (log.sync), libcoap's server when it has it in memory. Both
have one socket for all clients, and the load shares the cores with them: CPU/REQUEST is what
the server alone spent.

KIB/SESSION is resident memory of the hub for each session of DTLS by a pre-shared key, after
one request each: WITH all of them there, less what it was BEFORE, divided by their number.";

/// How long memory may move before it is taken as it is.
const STILL: Duration = Duration::from_secs(3);

/// Names of libcoap's server: Debian has one for each TLS library.
const PEERS: [&str; 4] = ["coap-server", "coap-server-notls", "coap-server-openssl", "coap-server-gnutls"];

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXPLANATION)]
pub(super) struct Args {
    /// Clients that send at one time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// Requests of all clients together, for each server
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Sessions of DTLS whose memory is measured; 0 for none
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    sessions: u32,
    #[command(flatten)]
    setup: super::Setup,
}

/// What one server showed.
#[derive(Debug, serde::Serialize)]
struct Run {
    server: &'static str,
    requests: u64,
    seconds: f64,
    requests_per_second: f64,
    cpu_us_per_request: f64,
    latency_us: Percentiles,
    sent_again: u64,
}

/// What sessions of DTLS took.
#[derive(Debug, serde::Serialize)]
struct Sessions {
    sessions: u32,
    bytes_before: u64,
    bytes_with: u64,
    bytes_per_session: u64,
    handshakes_per_second: f64,
}

pub(super) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let place = args.setup.place();
    let peer = peer();
    if peer.is_none() {
        eprintln!(
            "libcoap's server is not installed, so there is nothing to compare with (apt-get install libcoap3-bin)"
        );
    }
    let (runs, sessions) = super::block_on(&args.setup, measure(args, &place, peer.as_deref()))?;
    let ratio = match runs.as_slice() {
        [hub, peer] => Some(hub.requests_per_second / peer.requests_per_second),
        _ => None,
    };
    if out.is_json() {
        return out.json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": super::cores(),
            "clients": args.clients,
            "settings": args.setup.set,
            "runs": runs,
            "ratio": ratio,
            "sessions": sessions,
        }));
    }
    let rows = runs.iter().map(|run| {
        vec![
            run.server.to_owned(),
            format!("{:.0}", run.requests_per_second),
            format!("{:.1}", run.cpu_us_per_request),
            run.latency_us.p50.to_string(),
            run.latency_us.p99.to_string(),
            run.sent_again.to_string(),
        ]
    });
    let titles = ["SERVER", "REQUESTS/S", "CPU/REQUEST US", "P50 US", "P99 US", "SENT AGAIN"];
    out.line(&grid(titles.into_iter().map(str::to_owned), rows))?;
    if let Some(ratio) = ratio {
        out.line(&format!("\nrequests per second, the hub's over libcoap's: {ratio:.2}"))?;
    }
    if let Some(Sessions { sessions, bytes_per_session, handshakes_per_second, .. }) = &sessions {
        let kib = *bytes_per_session as f64 / 1_024.0;
        out.line(&format!(
            "{sessions} sessions of DTLS by key: {kib:.1} KIB/SESSION; {handshakes_per_second:.0} handshakes per second"
        ))?;
    }
    out.line(&format!("\n{} clients, {} requests for each server", args.clients, args.requests))?;
    out.line(&args.setup.described(&place))
}

async fn measure(args: &Args, place: &Path, peer: Option<&Path>) -> Result<(Vec<Run>, Option<Sessions>)> {
    let mut settings = args.setup.set.clone();
    settings.push("coap.strangers_per_second=0".to_owned());
    settings.push("coap.strangers_per_second_per_address=0".to_owned());
    let hub = HubUnderTest::start(place, &settings).await?;
    let logins = hub.devices(usize::from(args.clients)).await?;
    let address: SocketAddr = hub.endpoints.coap.as_deref().context("the hub serves no CoAP")?.parse()?;
    let requests = logins.iter().enumerate().map(|(number, login)| {
        let path = format!("{PRODUCT}/{}/event", payload::device_name(number));
        client::request(&path, Some(&format!("token={}", login.password)))
    });
    let mut runs = vec![load("weir", &hub.process, address, requests.collect(), args.requests).await?];
    drop(hub);
    if let Some(program) = peer {
        let folder = tempfile::Builder::new().prefix("weir-bench-libcoap-").tempdir()?;
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(["-A", "127.0.0.1", "-p", &port.to_string(), "-d", "100000", "-v", "0"]);
        let mut process = Process::start("libcoap", &mut command, folder.path())?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        process.wait_for(async || client::answers(address).await.ok()).await?;
        let requests = (0..args.clients).map(|number| client::request(&format!("event{number}"), None));
        runs.push(load("libcoap", &process, address, requests.collect(), args.requests).await?);
    }
    let sessions = match args.sessions {
        0 => None,
        count => Some(sessions(place, &settings, count).await?),
    };
    Ok((runs, sessions))
}

/// Lets each client send its own request again and again until all together have sent enough.
async fn load(
    server: &'static str,
    process: &Process,
    address: SocketAddr,
    requests: Vec<client::Request>,
    count: u32,
) -> Result<Run> {
    // Sessions are opened, and resources made, before time is taken.
    let opened = requests.into_iter().map(|request| Client::open(address, request));
    let clients = try_join_all(opened).await?;
    let left = Arc::new(AtomicU64::new(u64::from(count)));
    let (began, cpu) = (Instant::now(), process.cpu_seconds()?);
    let mut asking = JoinSet::new();
    for mut client in clients {
        let left = Arc::clone(&left);
        asking.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                client.ask().await?;
            }
            Ok::<_, anyhow::Error>(client)
        });
    }
    let mut finished = Vec::new();
    while let Some(client) = asking.join_next().await {
        finished.push(client??);
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), process.cpu_seconds()? - cpu);
    let sent_again = finished.iter().map(|client| client.sent_again).sum();
    let latencies = finished.into_iter().flat_map(|client| client.latencies).collect();
    let requests = u64::from(count);
    Ok(Run {
        server,
        requests,
        seconds,
        requests_per_second: requests as f64 / seconds,
        cpu_us_per_request: cpu * 1e6 / requests as f64,
        latency_us: Percentiles::of(latencies),
        sent_again,
    })
}

async fn sessions(place: &Path, settings: &[String], count: u32) -> Result<Sessions> {
    let hub = HubUnderTest::start(place, settings).await?;
    let devices = hub.devices_with_keys(count as usize).await?;
    let address: SocketAddr = hub.endpoints.coaps.as_deref().context("the hub serves no CoAP over DTLS")?.parse()?;
    let before = still(&hub.process).await?;
    let began = Instant::now();
    let mut open = Vec::with_capacity(devices.len());
    for (_, key) in &devices {
        open.push(Handshaken::open(address, key).await?);
    }
    let handshakes_per_second = f64::from(count) / began.elapsed().as_secs_f64();
    for (number, client) in open.iter_mut().enumerate() {
        client.ask(&format!("{PRODUCT}/{}/event", payload::device_name(number))).await?;
    }
    let with = still(&hub.process).await?;
    ensure!(with > before, "the sessions took no memory: {before} bytes became {with}");
    let bytes_per_session = (with - before) / u64::from(count);
    Ok(Sessions { sessions: count, bytes_before: before, bytes_with: with, bytes_per_session, handshakes_per_second })
}

/// Resident memory when it has not moved for a while.
async fn still(process: &Process) -> Result<u64> {
    let (mut last, mut since, began) = (process.memory()?.0, Instant::now(), Instant::now());
    while since.elapsed() < STILL && began.elapsed() < STILL * 5 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = process.memory()?.0;
        if now.abs_diff(last) > 256 * 1024 {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(process.memory()?.0)
}

fn peer() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let programs = PEERS.iter().flat_map(|name| places.iter().map(move |folder| folder.join(name)));
    programs.into_iter().find(|program| program.is_file())
}

//! What changes of shadows cost: through batches of the API and by MQTT, each durable when it is answered, beside a plain
//! loop of upserts into SQLite with the same durability.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use weir_core::{DeviceId, Offset, Timestamp, shadow::Encoded};
use weir_store::{NewProduct, ShadowRow, ShadowStep, Store};

use super::{
    Broker, Setup,
    hub::{HubUnderTest, PRODUCT},
    wire::{self, Login},
};
use crate::cli::{
    failure::Failure,
    output::{Output, grid},
};

const EXPLANATION: &str = "\
A change reports three keys of a shadow. All shadows are there before, and one in a hundred has
firmware left to do. Changes go round all shadows in a scattered order, so that each is another
one's, and seldom its neighbour's.

API      requests of --batch changes to /v1/shadows, from --clients at once; each is answered
         when all of its changes are on disk and applied.
MQTT     --clients clients at QoS 1 with --inflight changes unacknowledged each; acknowledged
         when they are on disk. The time is until all are applied.
SQLITE   the peer: a loop that upserts the document into a table with the same columns, in WAL
         mode with synchronous = FULL, one change in a transaction; and --batch of them.

The query that is timed asks for the shadows with firmware left to do, by a declared index.";

/// Between one shadow that changes and the next, in the order of their names. A prime above the number of shadows, so that
/// every one has its turn.
const STRIDE: u64 = 1_299_709;
/// One shadow in this many has firmware left to do.
const OUTDATED_EVERY: u32 = 100;
/// Devices, and shadows, that are made at once.
const AT_ONCE: usize = 512;
const ROWS_AT_ONCE: usize = 8_192;
const INDEX: &str = "CREATE INDEX outdated ON shadows (reported.fw <> desired.fw);";
const QUERY: &str = "SELECT product, device FROM shadows WHERE reported.fw <> desired.fw LIMIT 10000";
/// Changes of the peer that make a transaction each.
const ONE_EACH: u32 = 10_000;
/// Times that the query is run; the median is shown.
const QUERIES: usize = 5;

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXPLANATION)]
pub(super) struct Args {
    /// Shadows to change
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    shadows: u32,
    /// Changes in each run
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    updates: u32,
    /// Changes in one request
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
    /// Clients at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    clients: u16,
    /// Changes that one MQTT client sends ahead of their acknowledgements
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    inflight: u16,
    /// Where the data is kept: what is durable costs what the disk under it costs
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A setting of the hub, as for weir serve
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What was measured.
struct Measured {
    runs: Vec<Run>,
    query: Query,
    /// The hub's resident memory at its highest.
    memory: u64,
}

struct Query {
    rows: usize,
    seconds: f64,
    /// What making the index took.
    index_seconds: f64,
}

struct Run {
    way: &'static str,
    updates: u64,
    seconds: f64,
    /// Of the hub.
    cpu_seconds: Option<f64>,
}

pub(super) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let setup = Setup { broker: vec![Broker::Weir], dir: args.dir.clone(), set: args.set.clone(), threads: 2 };
    let place = setup.place();
    let Measured { runs, query, memory } = super::block_on(&setup, measure(args, &place))?;
    let rate = |run: &Run| run.updates as f64 / run.seconds.max(1e-9);
    let cpu = |run: &Run| run.cpu_seconds.map(|seconds| seconds * 1e6 / run.updates as f64);
    if out.is_json() {
        let shown = runs.iter().map(|run| {
            json!({"way": run.way, "updates": run.updates, "seconds": run.seconds, "updates_per_second": rate(run),
                "cpu_us_per_update": cpu(run)})
        });
        let shown: Vec<Value> = shown.collect();
        return out.json(&json!({"version": env!("CARGO_PKG_VERSION"), "cores": super::cores(),
            "shadows": args.shadows, "batch": args.batch, "clients": args.clients, "inflight": args.inflight,
            "settings": args.set, "runs": shown, "memory_bytes": memory,
            "query": {"rows": query.rows, "seconds": query.seconds, "index_seconds": query.index_seconds}}));
    }
    let titles = ["WAY", "UPDATES", "SECONDS", "UPDATES/S", "CPU US/UPDATE"];
    let rows = runs.iter().map(|run| {
        vec![
            run.way.to_owned(),
            run.updates.to_string(),
            format!("{:.2}", run.seconds),
            format!("{:.0}", rate(run)),
            cpu(run).map(|cpu| format!("{cpu:.1}")).unwrap_or_default(),
        ]
    });
    out.line(&grid(titles.into_iter().map(str::to_owned), rows))?;
    out.line(&format!(
        "\nthe query: {:.0} ms for {} rows; its index was made in {:.1} s",
        query.seconds * 1e3,
        query.rows,
        query.index_seconds
    ))?;
    out.line(&format!(
        "{} shadows; {} clients; the hub took {} MiB at most",
        args.shadows,
        args.clients,
        memory >> 20
    ))?;
    out.line(&setup.described(&place))
}

async fn measure(args: &Args, place: &Path) -> Result<Measured> {
    let hub = HubUnderTest::start_after(place, &args.set, async |store| fill(store, args.shadows).await).await?;
    let mut runs = vec![by_api(args, &hub).await?, by_mqtt(args, &hub).await?];
    let query = query(&hub).await?;
    let (_, memory) = hub.process.memory()?;
    drop(hub);
    for (way, batch) in [("sqlite, one each", 1), ("sqlite, in batches", usize::from(args.batch))] {
        // One at a time costs a sync each: a few say as much.
        let updates = if batch == 1 { args.updates.min(ONE_EACH) } else { args.updates };
        let (place, shadows) = (place.to_owned(), args.shadows);
        let upserts = move || upsert(way, &place, shadows, updates, batch);
        runs.push(tokio::task::spawn_blocking(upserts).await??);
    }
    Ok(Measured { runs, query, memory })
}

/// Devices with their shadows, as they are after some use. Through the store, as a million by the API would take minutes.
async fn fill(store: &Store, shadows: u32) -> Result<()> {
    let now = Timestamp(1_700_000_000_000);
    let product = NewProduct { id: Some(PRODUCT.parse()?), name: "bench".to_owned(), ..NewProduct::default() };
    store.create_product(product, now).await?;
    let made = stream::iter(0..shadows).map(async |number| {
        let id = device_id(number)?;
        store.create_device(&id, None, now).await?;
        anyhow::Ok(id)
    });
    let devices: Vec<DeviceId> = made.buffered(AT_ONCE).try_collect().await?;
    let mut rows = devices.into_iter().zip(0..).map(|(device, number)| filled(device, number, now)).collect::<Vec<_>>();
    rows.sort_unstable_by(|a, b| a.device.cmp(&b.device));
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let shadows = rows.by_ref().take(ROWS_AT_ONCE).collect();
        store.commit_shadows(Arc::new(ShadowStep { position: Offset::ZERO, shadows, forgotten: Vec::new() })).await?;
    }
    Ok(())
}

fn filled(device: DeviceId, number: u32, now: Timestamp) -> ShadowRow {
    let [reported, metadata] = texts(number);
    let desired = number.is_multiple_of(OUTDATED_EVERY).then(|| json!({"fw": "1.3.0"}).to_string());
    let document = Encoded { reported: Some(reported), desired, metadata };
    ShadowRow { device, name: None, document, version: 1, changed_at: now }
}

async fn query(hub: &HubUnderTest) -> Result<Query> {
    let began = Instant::now();
    hub.apply(INDEX.to_owned()).await?;
    let index_seconds = began.elapsed().as_secs_f64();
    let mut taken = Vec::with_capacity(QUERIES);
    for _ in 0..QUERIES {
        let began = Instant::now();
        let rows = hub.query(QUERY).await?;
        taken.push((began.elapsed(), rows));
    }
    taken.sort_unstable();
    let (seconds, rows) = taken.get(QUERIES / 2).copied().context("no query was run")?;
    Ok(Query { rows, seconds: seconds.as_secs_f64(), index_seconds })
}

/// The device that an update is of.
fn turn(update: u32, shadows: u32) -> u32 {
    // Below the number of shadows.
    (u64::from(update) * STRIDE % u64::from(shadows)) as u32
}

/// All names are of one length, so that they are in the order of their numbers.
fn name(number: u32) -> String {
    format!("shadow{number:07}")
}

fn device_id(number: u32) -> Result<DeviceId> {
    Ok(DeviceId { product: PRODUCT.parse()?, device: name(number).parse()? })
}

/// A document as it is stored: `reported` and `metadata`.
fn texts(number: u32) -> [String; 2] {
    let written = json!({"timestamp": 1_700_000_000_000_u64});
    let metadata = json!({"reported": {"temp": written, "fw": written, "on": written}});
    [state(number).to_string(), metadata.to_string()]
}

fn state(number: u32) -> Value {
    json!({"temp": f64::from(number % 1_000) / 10.0, "fw": "1.2.3", "on": number.is_multiple_of(2)})
}

async fn by_api(args: &Args, hub: &HubUnderTest) -> Result<Run> {
    let (began, cpu) = (Instant::now(), hub.process.cpu_seconds()?);
    let (clients, batch) = (u32::from(args.clients), u32::from(args.batch));
    let client = |client: u32| async move {
        let mut changed = 0;
        let mut next = client * batch;
        while next < args.updates {
            let numbers = next..(next + batch).min(args.updates);
            changed += numbers.len() as u64;
            let updates = numbers.map(|number| {
                let device = name(turn(number, args.shadows));
                json!({"product": PRODUCT, "device": device, "state": {"reported": state(number)}})
            });
            hub.change_shadows(updates.collect()).await?;
            next += clients * batch;
        }
        anyhow::Ok(changed)
    };
    let changed = try_join_all((0..clients).map(client)).await?;
    Ok(Run {
        way: "api",
        updates: changed.into_iter().sum(),
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: Some(hub.process.cpu_seconds()? - cpu),
    })
}

async fn by_mqtt(args: &Args, hub: &HubUnderTest) -> Result<Run> {
    let logins = hub.shadow_writers(usize::from(args.clients)).await?;
    let (began, cpu) = (Instant::now(), hub.process.cpu_seconds()?);
    let clients = logins.iter().zip(0..).map(|(login, client)| publish(args, hub, login, client));
    let acknowledged: Vec<u64> = try_join_all(clients).await?;
    // The log is applied in order, so that all before this one is.
    hub.settle_shadows(&name(0)).await?;
    Ok(Run {
        way: "mqtt",
        updates: acknowledged.into_iter().sum(),
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: Some(hub.process.cpu_seconds()? - cpu),
    })
}

/// One client's share, a window at a time.
async fn publish(args: &Args, hub: &HubUnderTest, login: &Login, client: u32) -> Result<u64> {
    let mut stream = wire::connect(&hub.endpoints.mqtt, login).await?;
    let (clients, window) = (u32::from(args.clients), u32::from(args.inflight));
    let mut acknowledged = 0;
    let mut packets = Vec::new();
    let mut answers = vec![0; args.inflight as usize * 4];
    let mut numbers = (client..args.updates).step_by(clients as usize).peekable();
    while numbers.peek().is_some() {
        packets.clear();
        let mut sent = 0_u16;
        for number in numbers.by_ref().take(window as usize) {
            sent += 1;
            let topic = format!("$shadow/operation/{PRODUCT}/{}", name(turn(number, args.shadows)));
            let payload = json!({"type": "update", "state": {"reported": state(number)}}).to_string();
            wire::publish_packet(&mut packets, &topic, sent, payload.as_bytes());
        }
        stream.write_all(&packets).await?;
        let answers = answers.get_mut(..usize::from(sent) * 4).context("too many at once")?;
        timeout(wire::ANSWER_TIMEOUT, stream.read_exact(answers)).await.context("no PUBACK came")??;
        ensure!(
            answers.chunks_exact(4).all(|answer| answer.first() == Some(&wire::PUBACK)),
            "the hub did not acknowledge"
        );
        acknowledged += u64::from(sent);
    }
    Ok(acknowledged)
}

/// What somebody would write who needs no hub: read the document, change it, write it, commit.
fn upsert(way: &'static str, place: &Path, shadows: u32, updates: u32, batch: usize) -> Result<Run> {
    let folder = tempfile::Builder::new().prefix("weir-bench-").tempdir_in(place)?;
    let connection = Connection::open(folder.path().join("peer.sqlite"))?;
    let _mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         CREATE TABLE shadows (product TEXT NOT NULL, device TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
         changed_at INTEGER NOT NULL, reported TEXT, desired TEXT, metadata TEXT NOT NULL,
         PRIMARY KEY (product, device, name)) STRICT, WITHOUT ROWID;",
    )?;
    let numbers: Vec<u32> = (0..shadows).collect();
    change(&connection, numbers.chunks(ROWS_AT_ONCE), |number| number)?;
    let began = Instant::now();
    let numbers: Vec<u32> = (0..updates).collect();
    change(&connection, numbers.chunks(batch), |number| turn(number, shadows))?;
    Ok(Run { way, updates: u64::from(updates), seconds: began.elapsed().as_secs_f64(), cpu_seconds: None })
}

fn change<'a>(
    connection: &Connection,
    batches: impl Iterator<Item = &'a [u32]>,
    device: impl Fn(u32) -> u32,
) -> Result<()> {
    for numbers in batches {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for number in numbers {
            let [reported, metadata] = texts(*number);
            connection
                .prepare_cached(
                    "INSERT INTO shadows VALUES (?1, ?2, '', 1, ?3, ?4, NULL, ?5) ON CONFLICT DO UPDATE SET
                     version = version + 1, changed_at = excluded.changed_at,
                     reported = json_patch(reported, excluded.reported),
                     metadata = json_patch(metadata, excluded.metadata)",
                )?
                .execute(params![PRODUCT, name(device(*number)), 1_700_000_000_000_i64, reported, metadata])?;
        }
        connection.execute_batch("COMMIT")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_shadow_has_its_turn() {
        for shadows in [1, 2, 10_000, 1_000_000] {
            let turns: BTreeSet<u32> = (0..shadows).map(|update| turn(update, shadows)).collect();
            assert_eq!(turns, (0..shadows).collect());
        }
    }
}

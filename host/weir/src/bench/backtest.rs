//! What a backtest over the lake costs: a rule with one filter over messages in Parquet files, beside DuckDB with the same
//! SELECT over the same files.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use weir_core::{
    Envelope, Protocol, Qos, Timestamp,
    history::{Backtest, BacktestReport, LakeView, ScanProgress, TimeRange},
    seams::{BoxFuture, Catalog, Language, QueryEngine},
    statement::{RuleDefinition, Statement},
};
use weir_lake::{Archive, Lake, LakeCompression, LakeOptions, Location, QueryOptions};
use weir_log::{Clock, Log, LogOptions, Record, SyncPolicy, storage::fs::Folder};
use weir_rules::language::SqlLanguage;

use super::{
    Broker, Setup,
    hub::PRODUCT,
    payload::{HOT_EVERY, device_name, telemetry},
};
use crate::cli::{
    failure::Failure,
    output::{Output, grid},
};

const EXPLANATION: &str = "\
Messages of 197 bytes, from --devices devices in turn, are written into a log and compacted into a
lake; one in ten is hotter than 30. Then a rule is run over them:

  SELECT deviceName() AS device, temp, temp * 9 / 5 + 32 AS fahrenheit
  FROM 'BENCH00001/+/event' WHERE temp > 30

WEIR     reads the files, evaluates the rule by the evaluator of live rules, and makes each row
         as its target would get it
DUCKDB   the peer: the same columns with the same filter over the same files, with as many
         threads as there are cores; its rows are summed up, not written";

/// Messages that are appended at once.
const APPENDED: usize = 4_096;
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXPLANATION)]
pub(super) struct Args {
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    messages: u64,
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    devices: u32,
    /// Times that each is run; the fastest counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    runs: u8,
    /// Compression of the files
    #[arg(long, value_enum, default_value_t = Compression::Zstd)]
    compression: Compression,
    /// A Python that has DuckDB (pip install duckdb)
    #[arg(long, value_name = "PYTHON", default_value = "python3")]
    duckdb: PathBuf,
    /// Where the data is kept
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Compression {
    Lz4,
    Zstd,
}

struct Measured {
    files: u64,
    bytes: u64,
    write_seconds: f64,
    compact_seconds: f64,
    /// Of the fastest run.
    seconds: f64,
    evaluate_seconds: f64,
    rows: u64,
    peer: Option<Peer>,
}

struct Peer {
    version: String,
    seconds: f64,
}

pub(super) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let setup = Setup { broker: vec![Broker::Weir], dir: args.dir.clone(), set: Vec::new(), threads: 2 };
    let place = setup.place();
    let measured = super::block_on(&setup, measure(args, &place))?;
    let ratio = measured.peer.as_ref().map(|peer| peer.seconds / measured.seconds.max(1e-9));
    if out.is_json() {
        let peer = measured.peer.as_ref();
        return out.json(&json!({"version": env!("CARGO_PKG_VERSION"), "cores": super::cores(),
            "messages": args.messages, "devices": args.devices, "files": measured.files, "bytes": measured.bytes,
            "write_seconds": measured.write_seconds, "compact_seconds": measured.compact_seconds,
            "seconds": measured.seconds, "evaluate_seconds": measured.evaluate_seconds, "rows": measured.rows,
            "duckdb": peer.map(|peer| json!({"version": peer.version, "seconds": peer.seconds})), "ratio": ratio}));
    }
    let rate = |seconds: f64| format!("{:.0}", args.messages as f64 / seconds.max(1e-9));
    let row = |what: String, seconds: f64| vec![what, format!("{seconds:.2}"), rate(seconds)];
    let mut rows = vec![
        row("append to the log".to_owned(), measured.write_seconds),
        row("compact into the lake".to_owned(), measured.compact_seconds),
        row("backtest".to_owned(), measured.seconds),
    ];
    rows.extend(measured.peer.as_ref().map(|peer| row(format!("duckdb {}", peer.version), peer.seconds)));
    out.line(&grid(["WHAT", "SECONDS", "MESSAGES/S"].map(str::to_owned).into_iter(), rows.into_iter()))?;
    out.line(&format!(
        "\n{} messages, {} rows; {} files, {} MiB; {:.2} s of evaluation in the backtest; {} cores",
        args.messages,
        measured.rows,
        measured.files,
        measured.bytes >> 20,
        measured.evaluate_seconds,
        super::cores()
    ))?;
    match ratio {
        Some(ratio) => out.line(&format!("duckdb's time / ours: {ratio:.2}")),
        None => out.line("duckdb was not found; say which Python has it by --duckdb"),
    }
}

async fn measure(args: &Args, place: &Path) -> Result<Measured> {
    let folder = tempfile::Builder::new().prefix("weir-bench-").tempdir_in(place)?;
    let clock = Clock::manual(Timestamp(1_767_225_600_000));
    let began = Instant::now();
    append(args, folder.path(), &clock).await?;
    let write_seconds = began.elapsed().as_secs_f64();

    // Opening the log again seals its last segment.
    let log = Log::open(Arc::new(Folder::open(&folder.path().join("log"))?), log_options(), clock.clone())?;
    let lake = folder.path().join("lake");
    let archive = Archive::new(lake_options(args, folder.path()), log.clone(), clock)?;
    let began = Instant::now();
    archive.settle().await?;
    let compact_seconds = began.elapsed().as_secs_f64();
    let status = archive.status();
    ensure!(status.rows == args.messages, "the lake holds {} messages", status.rows);

    let catalog = || Box::pin(async { Ok(Catalog::default()) }) as BoxFuture<'static, _>;
    let engine = Lake::new(Arc::new(log), Some(archive), Vec::new(), Box::new(catalog), QueryOptions::default());
    let mut fastest: Option<BacktestReport> = None;
    for _ in 0..args.runs {
        let backtest = Backtest {
            rule: rule()?,
            compare: None,
            time: TimeRange::ALL,
            samples: 0,
            progress: Arc::new(ScanProgress::default()),
        };
        let report = engine.backtest(backtest).await?;
        if fastest.as_ref().is_none_or(|known| report.elapsed_ms < known.elapsed_ms) {
            fastest = Some(report);
        }
    }
    let report = fastest.context("nothing was run")?;
    ensure!(report.read == args.messages, "{} messages were read", report.read);
    ensure!(report.matched == args.messages.div_ceil(HOT_EVERY as u64), "{} messages matched", report.matched);
    let (python, runs, rows) = (args.duckdb.clone(), args.runs, report.matched);
    let peer = tokio::task::spawn_blocking(move || duckdb(&python, &lake, runs, rows)).await?;
    Ok(Measured {
        files: status.files,
        bytes: status.bytes,
        write_seconds,
        compact_seconds,
        seconds: report.elapsed_ms as f64 / 1e3,
        evaluate_seconds: report.evaluate_us as f64 / 1e6,
        rows: report.matched,
        peer: match peer {
            Ok(peer) => Some(peer),
            Err(error) => {
                eprintln!("warning: {error:#}");
                None
            }
        },
    })
}

/// Writes the messages into a log, a minute apart for each device.
async fn append(args: &Args, folder: &Path, clock: &Clock) -> Result<()> {
    let log = Log::open(Arc::new(Folder::open(&folder.join("log"))?), log_options(), clock.clone())?;
    let devices: Vec<(String, String)> = (0..args.devices as usize)
        .map(|device| {
            (format!("{PRODUCT}/{}/event", device_name(device)), format!("device:{PRODUCT}/{}", device_name(device)))
        })
        .collect();
    let mut written = 0;
    let mut payloads = Vec::with_capacity(APPENDED);
    while written < args.messages {
        payloads.clear();
        for number in (written..args.messages).take(APPENDED) {
            let device = (number % u64::from(args.devices)) as usize;
            payloads.push((device, telemetry(device, (number % 100_000) as usize)));
        }
        let records: Vec<Record<'_>> = payloads
            .iter()
            .filter_map(|(device, payload)| {
                let (topic, publisher) = devices.get(*device)?;
                let payload = payload.as_bytes();
                Some(Record::Message(Envelope::new(topic, publisher, Protocol::Mqtt311, Qos::AtMostOnce, payload)))
            })
            .collect();
        log.append(&records).await?;
        written += records.len() as u64;
        clock.advance(MINUTE * (APPENDED as u32) / args.devices.max(1));
    }
    log.close().await;
    Ok(())
}

fn log_options() -> LogOptions {
    let large = 1 << 40;
    LogOptions {
        sync: SyncPolicy::Never,
        retain_bytes: large,
        max_bytes: large,
        retain_age: Duration::from_secs(u64::from(u32::MAX)),
        ..LogOptions::default()
    }
}

fn lake_options(args: &Args, folder: &Path) -> LakeOptions {
    LakeOptions {
        location: Location::Folder(folder.join("lake")),
        compression: match args.compression {
            Compression::Lz4 => LakeCompression::Lz4,
            Compression::Zstd => LakeCompression::Zstd,
        },
        retain_age: Duration::from_secs(u64::from(u32::MAX)),
        retain_bytes: 1 << 40,
        memory: 64 << 20,
        interval: Duration::from_secs(1),
        hub: "bench".to_owned(),
        scratch: folder.join("lake.new"),
    }
}

fn rule() -> Result<RuleDefinition> {
    let text = format!(
        "CREATE RULE bench TO republish(topic => 'x/y') AS \
         SELECT deviceName() AS device, temp, temp * 9 / 5 + 32 AS fahrenheit FROM '{PRODUCT}/+/event' WHERE temp > 30"
    );
    match SqlLanguage.parse(&text)?.pop() {
        Some(Statement::CreateRule(rule)) => Ok(rule),
        _ => Err(anyhow!("the rule of the bench is none")),
    }
}

/// What DuckDB takes for the same.
fn duckdb(python: &Path, lake: &Path, runs: u8, rows: u64) -> Result<Peer> {
    const SCRIPT: &str = r#"
import duckdb, json, sys, time
files, threads, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
db = duckdb.connect(config={"threads": threads})
sql = f"""
SELECT count(*), sum(length(device)), sum(temp * 9 / 5 + 32) FROM (
  SELECT device, (decode(payload)->>'$.temp')::DOUBLE AS temp FROM read_parquet('{files}')
  WHERE kind = 0 AND regexp_matches(topic, '^BENCH00001/[^/]*/event$')
) WHERE temp > 30"""
fastest = None
for _ in range(runs):
    began = time.perf_counter()
    rows = db.execute(sql).fetchall()[0][0]
    took = time.perf_counter() - began
    fastest = took if fastest is None else min(fastest, took)
print(json.dumps({"version": duckdb.__version__, "seconds": fastest, "rows": rows}))
"#;
    let files = lake.join("day=*/*/*.parquet");
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(&files)
        .args([super::cores().to_string(), runs.to_string()])
        .output()
        .with_context(|| format!("cannot run {}", python.display()))?;
    ensure!(output.status.success(), "DuckDB: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    let answer: Value = serde_json::from_slice(&output.stdout).context("DuckDB says something else")?;
    let found = answer.get("rows").and_then(Value::as_u64);
    ensure!(found == Some(rows), "DuckDB finds {found:?} rows, not {rows}");
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let seconds = answer.get("seconds").and_then(Value::as_f64).context("DuckDB took no time")?;
    Ok(Peer { version: text("version"), seconds })
}

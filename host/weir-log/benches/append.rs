//! How many messages of 200 bytes a log in a folder takes, and what that costs: `cargo bench -p weir-log`.
//!
//! Appenders hand over as many records at a time as a front-end finds in one read of a socket. Costs are processor time
//! of the whole process, appenders included.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime;
use weir_core::{Envelope, Offset, Protocol, Qos, seams::History};
use weir_log::{Clock, Log, LogOptions, Record, storage::fs::Folder};

const APPENDERS: usize = 2;
/// Telemetry of 200 bytes, no two alike.
fn payloads() -> Vec<String> {
    let payload = |n: u64| {
        let (temp, humidity) = (n * 7_919 % 4_000, n * 104_729 % 10_000);
        format!(
            r#"{{"device":"sensor-{n:04}","ts":{},"temp":{:05.2},"humidity":{:05.2},"pressure":1013.25,"status":"ok","battery":3.{:02},"pos":{{"lat":52.{:06},"lon":13.404954}},"tags":["roof","north"],"seq":{:06}}}"#,
            1_700_000_000_000 + n * 997,
            temp as f64 / 100.0,
            humidity as f64 / 100.0,
            n % 100,
            n * 15_485_863 % 1_000_000,
            n * 31,
        )
    };
    (0..1_024).map(payload).collect()
}

fn message(payload: &str, qos: Qos) -> Record<'_> {
    let (topic, device) = ("A1B2C3D4E5/sensor-0123/event", "A1B2C3D4E5/sensor-0123");
    let envelope = Envelope::new(topic, device, Protocol::Mqtt311, qos, payload.as_bytes());
    Record::Message(Envelope { session: Some("sensor-0123"), ..envelope })
}

fn main() -> Result<(), Box<dyn Error>> {
    let messages = env::var("MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000_000);
    for (qos, at_a_time) in [(Qos::AtMostOnce, 1), (Qos::AtMostOnce, 16), (Qos::AtLeastOnce, 1), (Qos::AtLeastOnce, 16)]
    {
        let folder = tempfile::tempdir()?;
        append(folder.path(), messages, qos, at_a_time)?;
        scan(folder.path())?;
    }
    Ok(())
}

fn append(folder: &Path, messages: usize, qos: Qos, at_a_time: usize) -> Result<(), Box<dyn Error>> {
    let log = Log::open(Arc::new(Folder::open(folder)?), LogOptions::default(), Clock::system())?;
    let (started, used) = (Instant::now(), processor_time()?);
    let appenders: Vec<_> = (0..APPENDERS)
        .map(|_| {
            let log = log.clone();
            thread::spawn(move || {
                let payloads = payloads();
                let runtime = runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
                let records: Vec<_> = payloads.iter().map(|payload| message(payload, qos)).collect();
                for records in records.chunks_exact(at_a_time).cycle().take(messages / APPENDERS / at_a_time) {
                    runtime.block_on(log.append(records)).map_err(|error| error.to_string())?;
                }
                Ok::<_, String>(())
            })
        })
        .collect();
    for appender in appenders {
        appender.join().map_err(|_| "an appender panicked")??;
    }
    let runtime = runtime::Builder::new_current_thread().build()?;
    runtime.block_on(log.close());
    let (elapsed, used) = (started.elapsed(), processor_time()? - used);
    let stats = log.stats();
    println!(
        "append qos {} by {at_a_time:2}: {:8.0} messages/s, {:.2} µs of processor each, {} syncs, {} bytes each",
        qos as u8,
        stats.records as f64 / elapsed.as_secs_f64(),
        used.as_secs_f64() * 1e6 / stats.records as f64,
        stats.syncs,
        stats.bytes / stats.records.max(1),
    );
    Ok(())
}

fn scan(folder: &Path) -> Result<(), Box<dyn Error>> {
    let log = Log::open(Arc::new(Folder::open(folder)?), LogOptions::default(), Clock::system())?;
    let started = Instant::now();
    let mut rows = 0;
    for batch in log.scan(Offset::ZERO, log.end()) {
        rows += batch?.num_rows();
    }
    println!("  scan: {:8.0} messages/s", rows as f64 / started.elapsed().as_secs_f64());
    Ok(())
}

/// User and system time of this process, which Linux counts in hundredths of a second.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("/proc/self/stat has another form")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

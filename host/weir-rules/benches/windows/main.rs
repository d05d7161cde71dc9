//! Windows, from payload bytes to rows of closed windows: count and average by device, over 100,000 devices. The last lines
//! say what is promised, and what storing the state costs.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot go on should stop, and prints what it found"
)]

#[path = "../rule_path/records.rs"]
mod records;
#[path = "../rule_path/telemetry.rs"]
mod telemetry;

use std::{
    env,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::array::TimestampMillisecondArray;
use criterion::{BenchmarkId, Criterion, Throughput};
use weir_core::{
    schema::Records,
    seams::{Catalog, Evaluator, Language},
    statement::Statement,
    windows::{WindowLimits, Windows},
};
use weir_rules::language::SqlLanguage;

const DEVICES: usize = 100_000;
/// Milliseconds in which each device says something once.
const ROUND: i64 = 10_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("windows");
    for (name, window) in [("tumbling", "tumble('1 minute')"), ("hopping", "hop('1 minute', '10 seconds')")] {
        for rows in [256, 4_096] {
            group.throughput(Throughput::Elements(rows as u64));
            let mut stream = Stream::new(rows);
            let mut windows = windows(window);
            // Every device has open windows.
            (0..DEVICES / rows).for_each(|_| drop(windows.push(&stream.next())));
            group.bench_function(BenchmarkId::new(name, rows), |b| {
                b.iter(|| black_box(windows.push(&stream.next())));
            });
        }
    }
    group.finish();
    criterion.final_summary();
    if !env::args().any(|argument| argument == "--profile-time") {
        promises();
    }
}

/// Three minutes of messages: what closes is part of it.
fn promises() {
    for rows in [16, 256, 4_096] {
        let mut stream = Stream::new(rows);
        let mut windows = windows("tumble('1 minute')");
        let mut best = Duration::MAX;
        let (mut made, mut count) = (0, 0);
        for _ in 0..3 {
            let start = Instant::now();
            count = 0;
            while count < DEVICES * 6 {
                made += windows.push(&stream.next()).len();
                count += rows;
            }
            best = best.min(start.elapsed());
        }
        let rate = count as f64 / best.as_secs_f64();
        println!("{rows} rows: {rate:.0} messages/s over {DEVICES} devices, {made} windows closed");
        let start = Instant::now();
        let state = windows.save().unwrap();
        let saved = start.elapsed();
        println!("{} open: saved in {saved:.1?} as {} KiB", windows.standing().open, state.len() >> 10);
    }
}

fn windows(window: &str) -> Box<dyn Windows> {
    let script = format!(
        "CREATE RULE mean TO out AS SELECT msg.device, window_start, avg(temp) AS mean, count(*) AS n
         FROM 'A1B2C3D4E5/+/event' GROUP BY msg.device, {window}"
    );
    let Some(Statement::CreateRule(rule)) = SqlLanguage.parse(&script).unwrap().pop() else { panic!("a rule") };
    let rules = SqlLanguage.evaluator().with_rules(std::slice::from_ref(&rule), &Catalog::default());
    let rules: Arc<dyn Evaluator> = rules.unwrap_or_else(|(_, error)| panic!("{error}"));
    rules.windows(&rule.name, None, WindowLimits::default()).unwrap().windows
}

/// Batches of messages of all devices in turn, for ever.
struct Stream {
    batches: Vec<Records>,
    next: usize,
    /// When the next message is accepted, in units of a message's distance.
    position: i64,
}

impl Stream {
    fn new(rows: usize) -> Self {
        let payloads = telemetry::payloads(4_096);
        let topics: Vec<String> =
            (0..DEVICES).map(|device| format!("A1B2C3D4E5/d{}/event", device * 7_919 % DEVICES)).collect();
        let messages: Vec<(&str, &[u8])> = topics
            .iter()
            .zip(payloads.iter().cycle())
            .map(|(topic, payload)| (topic.as_str(), payload.as_bytes()))
            .collect();
        let whole = messages.chunks_exact(rows).take(DEVICES / rows);
        Self { batches: whole.map(records::records).collect(), next: 0, position: 0 }
    }

    fn next(&mut self) -> Records {
        let mut records = self.batches[self.next].clone();
        self.next = (self.next + 1) % self.batches.len();
        let first = self.position;
        self.position += records.len() as i64;
        let at = |row: i64| 1_763_848_800_000 + row * ROUND / DEVICES as i64;
        records.accepted_at = TimestampMillisecondArray::from_iter_values((first..self.position).map(at));
        records
    }
}

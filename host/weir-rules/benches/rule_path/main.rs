//! The rule path, from payload bytes to rows, beside simd-json merely parsing the same bytes; and a thousand rules
//! beside one. The last lines give the ratios, which is what is promised.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot go on should stop, and prints what it found"
)]

mod records;
mod telemetry;

use std::{
    env, fs,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput};
use weir_core::{
    RuleName,
    schema::Records,
    seams::{Catalog, Evaluator, Language},
    statement::{RuleDefinition, Statement},
};
use weir_rules::{
    evaluate::RuleSet,
    extract::Extractor,
    language::SqlLanguage,
    plan::plan,
    program::{ColumnType, JsonPath, Step},
};

const ROWS: [usize; 4] = [1, 16, 256, 4_096];
const RULES: usize = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    single(&mut criterion);
    many(&mut criterion);
    criterion.final_summary();
    if !env::args().any(|argument| argument == "--profile-time") {
        ratios();
    }
}

fn single(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payloads");
    for rows in ROWS {
        group.throughput(Throughput::Elements(rows as u64));
        let records = one_topic(rows);
        let mut tape = Tape::default();
        group.bench_function(BenchmarkId::new("simd-json tape", rows), |b| b.iter(|| tape.parse(&records)));
        let (extractor, all) = (extractor(), (0..rows as u32).collect::<Vec<_>>());
        group.bench_function(BenchmarkId::new("extract", rows), |b| {
            b.iter(|| black_box(extractor.extract(&records.payload, &all)));
        });
        let (set, name) = set(&[rule(0, 0)]);
        group.bench_function(BenchmarkId::new("select", rows), |b| b.iter(|| black_box(set.select(&name, &records))));
        group.bench_function(BenchmarkId::new("rows", rows), |b| b.iter(|| black_box(set.evaluate(&records))));
    }
    group.finish();
}

fn many(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    for rows in [256, 4_096] {
        group.throughput(Throughput::Elements(rows as u64));
        let mut case = |name: &str, shapes: usize, rules: usize| {
            let (set, _) = set(&scripts(rules, shapes));
            let records = topics(rows, rules);
            group.bench_function(BenchmarkId::new(name, rows), |b| b.iter(|| black_box(set.evaluate(&records))));
        };
        case("1 rule", 1, 1);
        case("1000 rules of 1 shape", 1, RULES);
        case("20 rules of 20 shapes", 20, 20);
        case("1000 rules of 20 shapes", 20, RULES);
    }
    group.finish();
}

/// simd-json with all its memory kept, and the copy that it needs because it parses in place.
#[derive(Default)]
struct Tape {
    buffers: simd_json::Buffers,
    tape: Option<simd_json::Tape<'static>>,
    copy: Vec<u8>,
}

impl Tape {
    fn parse(&mut self, records: &Records) {
        for payload in &records.payload {
            self.copy.clear();
            self.copy.extend_from_slice(payload.unwrap());
            let mut tape = self.tape.take().unwrap_or_else(simd_json::Tape::null).reset();
            simd_json::fill_tape(&mut self.copy, &mut self.buffers, &mut tape).unwrap();
            self.tape = Some(black_box(tape).reset());
        }
    }
}

/// The paths of the rule that is measured.
fn extractor() -> Extractor {
    let key = |text: &str| Step::Key(text.into());
    let columns = [
        (vec![key("temp")], ColumnType::Number),
        (vec![key("dev")], ColumnType::Text),
        (vec![key("pos"), key("lat")], ColumnType::Number),
        (vec![key("vals"), Step::Index(0)], ColumnType::Number),
        (vec![key("batt")], ColumnType::Number),
    ];
    Extractor::new(&columns.map(|(steps, column_type)| (JsonPath(steps.into()), column_type)))
}

/// A rule on a topic of its own, with a threshold of its own; it matches about half of the messages.
fn rule(number: usize, shape: usize) -> String {
    let threshold = 20 + number % 20;
    let select = [
        "temp::double AS temp, dev::text AS dev, pos.lat::double AS lat, vals[0]::double AS v, batt::double AS batt",
        "temp, dev, pos.lat AS lat",
        "dev, temp * 9 / 5 + 32 AS fahrenheit",
        "msg.device AS device, temp, hum, status",
        "upper(dev) AS dev, pos, vals",
    ][shape % 5];
    let condition = [
        format!("temp > {threshold}"),
        format!("temp > {threshold} AND batt < 95"),
        format!("hum > {threshold} OR status = 'degraded'"),
        format!("temp * 2 > {threshold} AND status LIKE 'ok%'"),
    ];
    format!(
        "CREATE RULE rule_{number} TO republish(topic => 'out') AS SELECT {select} FROM 'A1B2C3D4E5/d{number}/event' WHERE {}",
        condition[shape / 5 % 4],
    )
}

fn scripts(rules: usize, shapes: usize) -> Vec<String> {
    (0..rules).map(|number| rule(number, number % shapes)).collect()
}

fn definition(script: &str) -> RuleDefinition {
    match SqlLanguage.parse(script).unwrap_or_else(|error| panic!("{error}")).pop() {
        Some(Statement::CreateRule(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

/// The set of some rules, and the first of them.
fn set(scripts: &[String]) -> (RuleSet, RuleName) {
    let programs = scripts
        .iter()
        .map(|script| plan(&definition(script), &Catalog::default()).unwrap_or_else(|error| panic!("{error}")));
    let set = RuleSet::empty().with_programs(programs.collect()).unwrap_or_else(|(_, error)| panic!("{error}"));
    (set, "rule_0".parse().unwrap())
}

fn one_topic(rows: usize) -> Records {
    topics(rows, 1)
}

/// Messages to the topics of rules, in an order that is no order.
fn topics(rows: usize, rules: usize) -> Records {
    let payloads = telemetry::payloads(rows);
    let topics: Vec<String> = (0..rows).map(|row| format!("A1B2C3D4E5/d{}/event", row * 7_919 % rules)).collect();
    let messages = topics.iter().zip(&payloads).map(|(topic, payload)| (topic.as_str(), payload.as_bytes()));
    records::records(&messages.collect::<Vec<_>>())
}

/// Measures in turns, so that what disturbs one disturbs all; the least time of each counts.
fn ratios() {
    for rows in [256, 4_096] {
        let records = one_topic(rows);
        let (one, name) = set(&scripts(1, 1));
        let (thousand, _) = set(&scripts(RULES, 1));
        let (twenty, _) = set(&scripts(20, 20));
        let (mix, _) = set(&scripts(RULES, 20));
        let (spread, among_twenty) = (topics(rows, RULES), topics(rows, 20));
        let each: Vec<_> = (0..20).map(|shape| set(&[rule(0, shape)]).0).collect();
        let mut tape = Tape::default();
        let (extractor, all) = (extractor(), (0..rows as u32).collect::<Vec<_>>());
        let [tape, extract, select, one, thousand, each, twenty, mix] = least([
            &mut || tape.parse(&records),
            &mut || drop(black_box(extractor.extract(&records.payload, &all))),
            &mut || drop(black_box(one.select(&name, &records))),
            &mut || drop(black_box(one.evaluate(&records))),
            &mut || drop(black_box(thousand.evaluate(&spread))),
            &mut || each.iter().for_each(|set| drop(black_box(set.evaluate(&records)))),
            &mut || drop(black_box(twenty.evaluate(&among_twenty))),
            &mut || drop(black_box(mix.evaluate(&spread))),
        ]);
        let bytes = records.payload.value_data().len() / rows;
        let per_row = |time: Duration| time.as_secs_f64() * 1e9 / rows as f64;
        let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
        println!(
            "{rows} rows of {bytes} B: tape {:.0} ns, extract {:.0} ns ({:.2} x tape), select {:.0} ns ({:.2} x tape, {:.0} messages/s), \
             rows {:.0} ns ({:.2} x tape, {:.0} messages/s)",
            per_row(tape),
            per_row(extract),
            ratio(extract, tape),
            per_row(select),
            ratio(select, tape),
            1e9 / per_row(select),
            per_row(one),
            ratio(one, tape),
            1e9 / per_row(one),
        );
        let each = each / 20;
        println!(
            "{rows} rows: 1 rule {:.0} ns, 1000 rules of one shape {:.0} ns ({:.2} x); 1 rule of 20 shapes, on average, {:.0} ns, \
             20 rules {:.0} ns, 1000 rules {:.0} ns ({:.2} x)",
            per_row(one),
            per_row(thousand),
            ratio(thousand, one),
            per_row(each),
            per_row(twenty),
            per_row(mix),
            ratio(mix, each),
        );
    }
    load();
}

fn least<const N: usize>(mut cases: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut least = [Duration::MAX; N];
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        for (case, least) in cases.iter_mut().zip(&mut least) {
            let start = Instant::now();
            case();
            *least = start.elapsed().min(*least);
        }
    }
    least
}

/// Bytes of memory that a rule may keep, whatever the number of rules.
const RULE_BYTES: u64 = 20 << 10;

/// Ten thousand rules: how long they take to load, and what they keep.
fn load() {
    let definitions: Vec<RuleDefinition> = scripts(10_000, 20).iter().map(|script| definition(script)).collect();
    let (before, start) = (resident(), Instant::now());
    let set = RuleSet::empty().with_rules(&definitions, &Catalog::default());
    let set: Arc<dyn Evaluator> = set.unwrap_or_else(|(_, error)| panic!("{error}"));
    let elapsed = start.elapsed();
    let each = resident().saturating_sub(before) / 10_000;
    println!("10000 rules: loaded in {elapsed:.2?}, {each} B each");
    assert!(each <= RULE_BYTES, "a rule keeps {each} B, and may keep {RULE_BYTES}");
    let start = Instant::now();
    let changed = set.with_rules(&definitions[..1], &Catalog::default()).is_ok();
    println!("one of them changed in {:.2?} ({changed})", start.elapsed());
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1_024
}

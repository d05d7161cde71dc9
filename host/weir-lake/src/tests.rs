mod agreement;
mod lake;
mod tables;

use std::{sync::Arc, time::Duration};

use arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use weir_core::{
    Envelope, Offset, Protocol, Qos, Timestamp,
    history::{QueryRequest, ScanCounts, ScanProgress, TimeRange},
    schema::Records,
    seams::{Catalog, History, HistoryError, Language, QueryEngine, QueryError},
    statement::Statement,
};
use weir_log::{Clock, Log, LogOptions, Record, storage::faulty::Faulty};
use weir_rules::language::SqlLanguage;

use crate::{Lake, QueryOptions};

async fn log(messages: &[(&str, &str)]) -> Log {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let log = Log::open(Arc::new(Faulty::new()), LogOptions::default(), clock).unwrap();
    let mut last = None;
    for (topic, payload) in messages {
        let message = Envelope::new(topic, "device:x", Protocol::Mqtt311, Qos::AtLeastOnce, payload.as_bytes());
        last = Some(log.append(&[Record::Message(message)]).await.unwrap());
    }
    if let Some(last) = last {
        log.durable().wait_for(last).await.unwrap();
    }
    log
}

const MESSAGES: [(&str, &str); 6] = [
    ("A1B2C3D4E5/a/event", r#"{"temp":31.5,"color":"red","pos":{"lat":1}}"#),
    ("A1B2C3D4E5/b/event", r#"{"temp":20,"color":"blue"}"#),
    ("A1B2C3D4E5/a/event", r#"{"temp":40,"color":"red"}"#),
    ("A1B2C3D4E5/a/event", "not json"),
    ("A1B2C3D4E5/b/data", r#"{"temp":99}"#),
    ("A1B2C3D4E5/b/event", r#"{"temp":"hot"}"#),
];

fn lake(log: &Log, options: QueryOptions) -> Lake {
    over(log.clone(), options)
}

fn over(history: impl History + 'static, options: QueryOptions) -> Lake {
    Lake::new(Arc::new(history), None, Vec::new(), Box::new(|| Box::pin(async { Ok(Catalog::default()) })), options)
}

/// A query's result, whole.
async fn rows(lake: &Lake, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    scanned(lake, sql, TimeRange::ALL).await.map(|(batches, _)| batches)
}

/// As [`rows`], of messages of a time, with what was read for it.
async fn scanned(lake: &Lake, sql: &str, time: TimeRange) -> Result<(Vec<RecordBatch>, ScanCounts), QueryError> {
    let progress = Arc::new(ScanProgress::default());
    let mut run = lake.query(QueryRequest { sql, time, progress: &progress }).await?;
    let mut batches = vec![RecordBatch::new_empty(run.schema())];
    while let Some(batch) = run.next().await {
        batches.push(batch?);
    }
    Ok((batches, progress.counts()))
}

async fn check(sql: &str, expected: &str) {
    let log = log(&MESSAGES).await;
    let batches = rows(&lake(&log, QueryOptions::default()), sql).await.unwrap();
    assert_eq!(cells(&batches), expected, "{sql}");
}

/// Rows between semicolons, the names first.
fn cells(batches: &[RecordBatch]) -> String {
    let table = pretty_format_batches(batches).unwrap().to_string();
    let rows: Vec<String> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" "))
        .collect();
    rows.join("; ")
}

#[tokio::test]
async fn filters_and_projects() {
    check("SELECT msg.device, temp FROM 'A1B2C3D4E5/+/event' WHERE temp > 30", "device temp; a 31.5; a 40").await;
    check("SELECT temp FROM 'A1B2C3D4E5/b/data'", "temp; 99").await;
    check("SELECT temp FROM 'A1B2C3D4E5/c/data'", "temp").await;
}

#[tokio::test]
async fn groups_and_sorts() {
    check(
        "SELECT msg.device AS d, count(*) AS n, avg(temp) AS mean FROM 'A1B2C3D4E5/+/event' GROUP BY msg.device ORDER BY d",
        "d n mean; a 3 35.75; b 2 20.0",
    )
    .await;
    check("SELECT color FROM 'A1B2C3D4E5/#' WHERE temp > 0 ORDER BY temp::double DESC LIMIT 2", "color; ; \"red\"")
        .await;
    check("SELECT count(*) AS n FROM '#'", "n; 6").await;
}

/// The same messages over and over: a query that only its time bound ends.
struct Endless(RecordBatch);

impl History for Endless {
    fn scan(&self, _: Offset, _: Offset) -> Box<dyn Iterator<Item = Result<RecordBatch, HistoryError>> + Send> {
        Box::new(std::iter::repeat(self.0.clone()).map(Ok))
    }

    fn oldest(&self) -> Offset {
        Offset::ZERO
    }

    fn end(&self) -> Offset {
        Offset::ZERO
    }
}

#[tokio::test]
async fn a_bound_that_is_reached_is_named() {
    let log = log(&MESSAGES).await;
    let few = lake(&log, QueryOptions { rows: 2, ..QueryOptions::default() });
    let error = rows(&few, "SELECT temp FROM '#'").await.unwrap_err();
    assert_eq!(error, QueryError::LimitExceeded("the result has more than 2 rows: add LIMIT".to_owned()));
    let endless = Endless(log.scan(Offset::ZERO, log.end()).next().unwrap().unwrap());
    let options = QueryOptions { time: Duration::from_millis(50), ..QueryOptions::default() };
    let hurried = over(endless, options);
    let error = rows(&hurried, "SELECT count(*) AS n FROM '#'").await.unwrap_err();
    assert!(error.to_string().starts_with("the query took longer than"), "{error}");
    // Where nothing matches, reading ends with the query too: the runtime would wait for its thread.
    let error = rows(&hurried, "SELECT count(*) AS n FROM 'nothing/here'").await.unwrap_err();
    assert!(error.to_string().starts_with("the query took longer than"), "{error}");
    let error = rows(&few, "SELECT temp FORM '#'").await.unwrap_err();
    assert!(matches!(error, QueryError::Sql(_)), "{error}");
}

/// The same SELECT as a rule and as a query makes the same rows.
#[tokio::test]
async fn a_query_agrees_with_a_rule() {
    let select =
        "SELECT msg.device AS d, temp * 2 AS twice, upper(color) AS c FROM 'A1B2C3D4E5/+/event' WHERE temp > 25";
    let log = log(&MESSAGES).await;
    let batches = rows(&lake(&log, QueryOptions::default()), select).await.unwrap();
    let mut queried = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cell = |column: usize| arrow::util::display::array_value_to_string(batch.column(column), row).unwrap();
            let twice: f64 = cell(1).parse().unwrap();
            queried.push(format!(r#"{{"d":"{}","twice":{twice},"c":"{}"}}"#, cell(0), cell(2)));
        }
    }
    let script = format!("CREATE RULE r TO republish(topic => 'x/y') AS {select}");
    let Some(Statement::CreateRule(rule)) = SqlLanguage.parse(&script).unwrap().pop() else { panic!("a rule") };
    let rules = SqlLanguage.evaluator().with_rules(&[rule], &Catalog::default()).map_err(|(_, error)| error).unwrap();
    let mut ruled = Vec::new();
    for batch in log.scan(Offset::ZERO, log.end()) {
        for evaluation in rules.evaluate(&Records::try_from(&batch.unwrap()).unwrap()) {
            // A frame in which nothing matched has no rows.
            let payloads = evaluation.actions.iter().flat_map(|rows| &rows.payload);
            ruled.extend(payloads.map(|payload| String::from_utf8(payload.unwrap().to_vec()).unwrap()));
        }
    }
    assert_eq!(queried, ruled);
    assert_eq!(ruled.len(), 2);
}

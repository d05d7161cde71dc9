//! Live against batch: the rows of a rule are the same whether it is evaluated frame by frame as messages come, over the
//! log afterwards, or over the lake's Parquet files.
//!
//! Rules and messages are generated. `WEIR_SEEDS` says how many cases are tried; without it few are, always the same.

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use weir_core::{
    history::{Backtest, BacktestReport, Sample},
    seams::Evaluator,
    statement::RuleDefinition,
};

use super::{
    lake::{DAY, Hub},
    *,
};

/// Cases without `WEIR_SEEDS`.
const CASES: u32 = 24;

#[derive(Debug, Clone)]
struct Case {
    rule: String,
    messages: Vec<(String, String)>,
    /// After how many messages the hub is started again.
    restart: usize,
}

fn number() -> impl Strategy<Value = String> {
    select(vec!["0", "1", "-3", "31.5", "40", "1e3", "9007199254740993", "temp", "hum", "pos.lat", "vals[0]"])
        .prop_map(str::to_owned)
}

fn condition() -> impl Strategy<Value = String> {
    let comparison = (number(), select(vec![">", "<", ">=", "=", "<>"]), number())
        .prop_map(|(left, op, right)| format!("{left} {op} {right}"));
    let text = select(vec![
        "color = 'red'",
        "color LIKE 'b%'",
        "upper(color) IN ('RED', 'BLUE')",
        "pos IS NOT NULL",
        "color IS NULL",
        "msg.qos > 0",
        "msg.device = 'a'",
        "timestamp() % 2 = 0",
        "topic(2) <> 'b'",
        "CASE WHEN temp > 10 THEN hum > 5 ELSE color = 'red' END",
        "coalesce(temp, hum, 0) > 1",
        "ok",
    ])
    .prop_map(str::to_owned);
    let leaf = prop_oneof![comparison, text];
    leaf.prop_recursive(2, 6, 2, |inner| {
        (inner.clone(), select(vec!["AND", "OR"]), inner, any::<bool>())
            .prop_map(|(left, op, right, not)| format!("{}({left} {op} {right})", if not { "NOT " } else { "" }))
    })
}

fn rule() -> impl Strategy<Value = String> {
    let column = prop_oneof![
        number().prop_map(|value| format!("{value} + 1")),
        select(vec![
            "*",
            "temp",
            "pos",
            "vals",
            "color",
            "msg.time",
            "msg.offset",
            "deviceName()",
            "payload()",
            "now()",
            "md5(color)",
            "round(temp / 3, 2)",
            "temp / 0",
            "CAST(color AS DOUBLE)",
            "concat(color, '-', msg.device)",
            "random()",
            "randint(1, 6)",
            "newuuid()",
        ])
        .prop_map(str::to_owned),
    ];
    let source = select(vec!["A1B2C3D4E5/+/event", "A1B2C3D4E5/a/#", "#", "+/+/data", "plain", "A1B2C3D4E5/a/event"]);
    let topic = select(vec!["x/y", "${msg.product}/${msg.device}/out", "x/${color}", "x/${temp}"]);
    (prop::collection::vec(column, 1..4), source, prop::option::of(condition()), topic, any::<bool>()).prop_map(
        |(columns, source, condition, topic, on_error)| {
            let columns: Vec<String> = (0..)
                .zip(columns)
                .map(|(n, column)| if column == "*" { column } else { format!("{column} AS c{n}") })
                .collect();
            let condition = condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
            let on_error = if on_error { " ON ERROR TO republish(topic => 'x/failed')" } else { "" };
            let columns = columns.join(", ");
            format!("CREATE RULE r TO republish(topic => '{topic}'){on_error} AS SELECT {columns} FROM '{source}'{condition}")
        },
    )
}

fn message() -> impl Strategy<Value = (String, String)> {
    let topic = select(vec![
        "A1B2C3D4E5/a/event",
        "A1B2C3D4E5/b/event",
        "A1B2C3D4E5/a/data",
        "Z9Y8X7W6V5/a/data",
        "plain",
        "$state/report/A1B2C3D4E5/a",
    ]);
    let member = (
        select(vec!["temp", "hum", "color", "pos", "vals", "ok"]),
        select(vec![
            "1",
            "31.5",
            "-3",
            "1e3",
            "9007199254740993",
            "1e400",
            "true",
            "null",
            "\"red\"",
            "\"blue\"",
            "\"\\ud83d\\ude00\"",
            "{\"lat\":2}",
            "{\"lat\":\"x\"}",
            "[1,\"a\"]",
            "[]",
            "\"31\"",
        ]),
    );
    let object = prop::collection::vec(member, 0..6).prop_map(|members| {
        let members: Vec<String> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    });
    let payload = prop_oneof![8 => object, 1 => select(vec!["", "not json", "{\"temp\":", "[1]", "7", "\"x\""]).prop_map(str::to_owned)];
    (topic.prop_map(str::to_owned), payload)
}

fn case() -> impl Strategy<Value = Case> {
    (rule(), prop::collection::vec(message(), 1..60), 0..60_usize).prop_map(|(rule, messages, restart)| Case {
        rule,
        messages,
        restart,
    })
}

fn parsed(rule: &str) -> RuleDefinition {
    match SqlLanguage.parse(rule).unwrap().pop() {
        Some(Statement::CreateRule(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

/// Every row of an action as text, and the counts.
fn told(report: &BacktestReport) -> Vec<String> {
    let mut lines = vec![format!(
        "read {} matched {} unmatched {} failed {} mismatches {:?}",
        report.read, report.matched, report.unmatched, report.failed, report.mismatches
    )];
    for action in &report.actions {
        lines.push(format!("{} rows {} invalid {}", action.action, action.rows, action.invalid));
        lines.extend(action.samples.iter().map(|sample| format!("{sample:?}")));
    }
    lines
}

/// What the rule makes of each frame by itself, as it comes.
fn live(log: &Log, rule: &RuleDefinition, evaluator: &Arc<dyn Evaluator>) -> BacktestReport {
    let mut tally = crate::backtest::tally(rule, 1_000);
    for batch in log.scan(Offset::ZERO, log.end()) {
        let records = Records::try_from(&batch.unwrap()).unwrap();
        for evaluation in evaluator.evaluate(&records) {
            tally.add(&records, &evaluation);
        }
    }
    tally.finish()
}

async fn batch(hub: &Hub, rule: &RuleDefinition) -> BacktestReport {
    let backtest = Backtest {
        rule: rule.clone(),
        compare: Some(rule.clone()),
        time: TimeRange::ALL,
        samples: 1_000,
        progress: Arc::default(),
    };
    hub.lake().backtest(backtest).await.unwrap()
}

async fn check(case: &Case) -> Result<(), TestCaseError> {
    let rule = parsed(&case.rule);
    let Ok(evaluator) = SqlLanguage.evaluator().with_rules(std::slice::from_ref(&rule), &Catalog::default()) else {
        // Some conditions make no sense together; that is told when a rule is saved.
        return Ok(());
    };
    let mut hub = Hub::new().await;
    hub.archive.open().await.unwrap();
    for (n, (topic, payload)) in case.messages.iter().enumerate() {
        hub.append(topic, payload).await;
        hub.clock.advance(DAY / 10);
        if n == case.restart {
            hub = hub.restarted().await;
            hub.archive.open().await.unwrap();
        }
    }
    let expected = told(&live(&hub.log, &rule, &evaluator));
    let check = |report: &BacktestReport, place: &str| {
        prop_assert_eq!(&told(report), &expected, "{} of {}", place, case.rule);
        let comparison = report.comparison.as_ref().unwrap();
        prop_assert_eq!((comparison.changed, comparison.added, comparison.removed), (0, 0, 0), "{}", place);
        Ok(())
    };
    check(&batch(&hub, &rule).await, "the log")?;
    hub.turn().await;
    hub.drop_from_log();
    check(&batch(&hub, &rule).await, "lake and log")?;
    // Opening it again seals what was being written.
    hub = hub.restarted().await;
    hub.turn().await;
    hub.drop_from_log();
    prop_assert_eq!(hub.log.stats().segments, 1);
    check(&batch(&hub, &rule).await, "the lake")
}

#[test]
fn a_rule_makes_the_same_rows_live_over_the_log_and_over_the_lake() {
    let seeds = std::env::var("WEIR_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let config = Config { cases: seeds.unwrap_or(CASES), failure_persistence: None, ..Config::default() };
    let mut runner = match seeds {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runner.run(&case(), |case| runtime.block_on(check(&case))).unwrap();
}

/// What the samples of a report are for.
#[tokio::test]
async fn two_versions_of_a_rule_are_set_against_each_other() {
    let hub = Hub::new().await;
    hub.archive.open().await.unwrap();
    for temp in [10, 20, 30, 40] {
        hub.append("A1B2C3D4E5/a/event", &format!("{{\"temp\":{temp}}}")).await;
    }
    let rule = |select: &str| parsed(&format!("CREATE RULE r TO republish(topic => 'x/${{temp}}') AS SELECT {select}"));
    let backtest = Backtest {
        rule: rule("temp FROM 'A1B2C3D4E5/+/event' WHERE temp > 15"),
        compare: Some(rule(
            "CASE WHEN temp = 30 THEN 31 ELSE temp END AS temp FROM 'A1B2C3D4E5/+/event' WHERE temp < 35",
        )),
        time: TimeRange::ALL,
        samples: 2,
        progress: Arc::default(),
    };
    let report = hub.lake().backtest(backtest).await.unwrap();
    let comparison = report.comparison.unwrap();
    let counts = (comparison.same, comparison.changed, comparison.added, comparison.removed);
    assert_eq!(counts, (1, 1, 1, 1));
    let payload =
        |sample: &Option<Sample>| sample.as_ref().map(|sample| String::from_utf8_lossy(&sample.payload).into_owned());
    let differences: Vec<_> = comparison
        .differences
        .iter()
        .map(|difference| (payload(&difference.before), payload(&difference.after)))
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(differences, [(some(r#"{"temp":10}"#), None), (some(r#"{"temp":31}"#), some(r#"{"temp":30}"#))]);
    let action = &report.actions[0];
    assert_eq!((action.rows, action.samples.len(), action.target.as_str()), (3, 2, "republish"));
    assert_eq!(action.samples[0].arguments, [("topic".to_owned(), Some("x/20".to_owned()))]);
    assert_eq!(report.hours.iter().map(|hour| hour.rows).sum::<u64>(), 3);
}

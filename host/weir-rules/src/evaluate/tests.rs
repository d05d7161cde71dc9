use std::sync::Arc;

use arrow::{
    array::{Array, RecordBatch, UInt8Array},
    datatypes::DataType,
};
use proptest::prelude::*;
use weir_core::{
    schema::{Kind, Records},
    seams::{Catalog, Evaluator, Rows, RuleEvaluation, RulePart},
    statement::{RuleDefinition, Statement},
};

use super::{RuleSet, index::Index};

mod isolation;
#[path = "../../benches/rule_path/records.rs"]
mod records;

fn rules(script: &str) -> Vec<RuleDefinition> {
    let statements = crate::language::parse(script).unwrap_or_else(|error| panic!("{error}"));
    statements
        .into_iter()
        .map(|statement| match statement {
            Statement::CreateRule(rule) => rule,
            other => panic!("{other:?} is no rule"),
        })
        .collect()
}

fn set(script: &str) -> Arc<dyn Evaluator> {
    match RuleSet::empty().with_rules(&rules(script), &Catalog::default()) {
        Ok(set) => set,
        Err((rule, error)) => panic!("{rule}: {error}"),
    }
}

pub(super) fn messages(messages: &[(&str, &str)]) -> Records {
    let messages: Vec<(&str, &[u8])> = messages.iter().map(|(topic, payload)| (*topic, payload.as_bytes())).collect();
    records::records(&messages)
}

fn payloads(rows: &Rows) -> Vec<String> {
    rows.payload.iter().map(|payload| String::from_utf8_lossy(payload.unwrap()).into_owned()).collect()
}

/// What one SELECT makes of payloads; a failed message is `!` and why.
fn check(select: &str, messages: &[&str], expected: &[&str]) {
    let set = set(&format!("CREATE RULE r TO republish(topic => 'out') AS {select} FROM 'A1B2C3D4E5/+/event'"));
    let messages: Vec<_> = messages.iter().map(|payload| ("A1B2C3D4E5/dev_1/event", *payload)).collect();
    let [evaluation] = set.evaluate(&self::messages(&messages)).try_into().unwrap();
    let mut found: Vec<(u32, String)> = Vec::new();
    if let Some(rows) = evaluation.actions.first() {
        found.extend(rows.source.iter().copied().zip(payloads(rows)));
    }
    if let Some(failures) = &evaluation.failures {
        found.extend(failures.source.iter().copied().zip(failures.reasons.iter().map(|reason| format!("! {reason}"))));
    }
    found.sort();
    let found: Vec<_> = found.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(found, expected, "{select}");
}

#[test]
fn rows_are_json_objects() {
    check(
        "SELECT deviceName() AS device, temp, temp * 9 / 5 + 32 AS fahrenheit",
        &[r#"{"temp":30}"#, r#"{"temp": 30.50}"#, "{}", r#"{"temp":"x"}"#],
        &[
            r#"{"device":"dev_1","temp":30,"fahrenheit":86}"#,
            r#"{"device":"dev_1","temp":30.50,"fahrenheit":86.9}"#,
            r#"{"device":"dev_1","temp":null,"fahrenheit":null}"#,
            r#"{"device":"dev_1","temp":"x","fahrenheit":null}"#,
        ],
    );
    check(
        "SELECT a::double AS d, a::bigint AS i, a::text AS t, b, upper(b::text) AS u, msg.time AS time, msg.qos AS q, c = true AS c",
        &[r#"{"a":9007199254740993,"b":"x\"\u00e9","c":true}"#, r#"{"a":1e300}"#],
        &[
            r#"{"d":9007199254740992,"i":9007199254740993,"t":null,"b":"x\"\u00e9","u":"X\"É","time":"2025-11-22T22:00:00Z","q":1,"c":true}"#,
            r#"{"d":1e+300,"i":null,"t":null,"b":null,"u":null,"time":"2025-11-22T22:00:00.001Z","q":1,"c":null}"#,
        ],
    );
}

#[test]
fn star_passes_payloads_or_merges_their_members() {
    check("SELECT *", &[" not json ", "{\"a\" : 1}"], &[" not json ", "{\"a\" : 1}"]);
    check(
        "SELECT *, temp + 1 AS temp, deviceName() AS device",
        &[r#" {"temp":1, "x":{ "y":2 }}"#, "{}", r#"{"a":1,"device":"d","\u0061":2,"te\u006dp":5}"#],
        &[
            r#"{"temp":2,"x":{ "y":2 },"device":"dev_1"}"#,
            r#"{"temp":null,"device":"dev_1"}"#,
            r#"{"device":"dev_1","\u0061":2,"temp":6}"#,
        ],
    );
    check(
        "SELECT *, 1 AS one",
        &["[1]", "{}", "x"],
        &["! the payload is no JSON object, so * has no members", r#"{"one":1}"#, "! the payload is not valid JSON"],
    );
    let many: Vec<String> = (0..40).map(|i| format!("\"k{}\":{i}", i % 30)).collect();
    let last: Vec<String> = (10..40).map(|i| format!("\"k{}\":{i}", i % 30)).collect();
    check("SELECT *, 1 AS one", &[&format!("{{{}}}", many.join(","))], &[&format!("{{{},\"one\":1}}", last.join(","))]);
}

#[test]
fn a_malformed_message_fails_for_itself_and_only_where_json_is_read() {
    let set = set("
        CREATE RULE reads TO republish(topic => 'out') ON ERROR TO republish(topic => 'failed/${msg.device}')
            AS SELECT temp FROM 'A1B2C3D4E5/+/event' WHERE temp > 30;
        CREATE RULE passes TO republish(topic => 'out') AS SELECT * FROM 'A1B2C3D4E5/+/event';
    ");
    let batch = messages(&[
        ("A1B2C3D4E5/a/event", r#"{"temp":31}"#),
        ("A1B2C3D4E5/b/event", r#"{"temp":31"#),
        ("A1B2C3D4E5/c/event", r#"{"temp":"31"}"#),
        ("A1B2C3D4E5/d/event", r#"{"temp":1}"#),
        ("A1B2C3D4E5/d/other", "x"),
    ]);
    let evaluations = set.evaluate(&batch);
    let of = |name: &str| evaluations.iter().find(|evaluation| evaluation.rule.as_str() == name).unwrap();
    let reads = of("reads");
    assert_eq!((reads.read, reads.matched, reads.unmatched, reads.failed), (4, 1, 2, 1));
    assert_eq!(reads.mismatches, [("temp".to_owned(), 1)]);
    assert_eq!(reads.actions[0].source[..], [0]);
    let failures = reads.failures.as_ref().unwrap();
    assert_eq!(
        (failures.source.as_slice(), failures.reasons.as_slice()),
        (&[1][..], &["the payload is not valid JSON".to_owned()][..])
    );
    assert_eq!(failures.arguments[0].0, "topic");
    assert_eq!(failures.arguments[0].1.value(0), "failed/b");
    let passes = of("passes");
    assert_eq!((passes.read, passes.matched, passes.failed), (4, 4, 0));
}

#[test]
fn settings_are_guarded_by_what_they_are_for() {
    let set = set("
        CREATE RULE r TO republish(topic => 'panel/${room}/${msg.device}'), webhook(url => 'http://127.0.0.1/x?room=${room}', body => '${room}: ${temp + 1}')
            AS SELECT room, temp::double AS temp FROM 'A1B2C3D4E5/+/event';
    ");
    let rooms = ["a b", "x/y", "", "x+", "#", "é&", "nul\\u0000"];
    let payloads: Vec<_> =
        rooms.iter().map(|room| format!(r#"{{"room":"{room}","temp":1.5}}"#)).chain(["{}".to_owned()]).collect();
    let batch: Vec<_> = payloads.iter().map(|payload| ("A1B2C3D4E5/dev/event", payload.as_str())).collect();
    let [evaluation] = set.evaluate(&messages(&batch)).try_into().unwrap();
    let argument = |action: usize, name: &str| -> Vec<Option<String>> {
        let (_, texts) = evaluation.actions[action].arguments.iter().find(|(setting, _)| setting == name).unwrap();
        texts.iter().map(|text| text.map(str::to_owned)).collect()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(argument(0, "topic"), [some("panel/a b/dev"), None, None, None, None, some("panel/é&/dev"), None, None]);
    let url = |room: &str| some(&format!("http://127.0.0.1/x?room={room}"));
    assert_eq!(
        argument(1, "url"),
        [url("a%20b"), url("x%2Fy"), url(""), url("x%2B"), url("%23"), url("%C3%A9%26"), url("nul%00"), None]
    );
    assert_eq!(argument(1, "body")[..2], [some("a b: 2.5"), some("x/y: 2.5")]);
    assert_eq!(evaluation.matched, 8);
}

#[test]
fn a_rule_is_replaced_and_removed_without_touching_the_others() {
    let one = set(
        "CREATE RULE a TO republish(topic => 'x') AS SELECT 1 AS v FROM 't/#'; CREATE RULE b TO republish(topic => 'x') AS SELECT 2 AS v FROM 't/#'",
    );
    let replaced = rules("CREATE RULE a TO republish(topic => 'x') AS SELECT 3 AS v FROM 't/#'");
    let two = one.with_rules(&replaced, &Catalog::default()).map_err(|(_, error)| error).unwrap();
    let three = two.without_rule(&"b".parse().unwrap());
    let batch = messages(&[("t/x", "{}")]);
    let values = |set: &Arc<dyn Evaluator>| {
        let mut values: Vec<_> = set.evaluate(&batch).iter().map(|e| payloads(&e.actions[0])[0].clone()).collect();
        values.sort();
        values
    };
    assert_eq!(values(&one), [r#"{"v":1}"#, r#"{"v":2}"#]);
    assert_eq!(values(&two), [r#"{"v":2}"#, r#"{"v":3}"#]);
    assert_eq!(values(&three), [r#"{"v":3}"#]);
    assert!(three.evaluate_rule(&"b".parse().unwrap(), RulePart::Rows, &batch).is_none());
    assert_eq!(three.evaluate_rule(&"a".parse().unwrap(), RulePart::Rows, &messages(&[("u", "{}")])).unwrap().read, 0);
}

#[test]
fn control_records_are_passed_over() {
    let set = set("CREATE RULE a TO republish(topic => 'x') AS SELECT msg.offset AS o FROM '#'");
    let batch = records::batch(&[("a", b"{}"), ("a", b"{}"), ("b", b"{}")]);
    let mut columns = batch.columns().to_vec();
    columns[1] = Arc::new(UInt8Array::from(vec![Kind::Message as u8, Kind::Subscribed as u8, Kind::Message as u8]));
    let records = Records::try_from(&RecordBatch::try_new(batch.schema(), columns).unwrap()).unwrap();
    let [evaluation] = set.evaluate(&records).try_into().unwrap();
    assert_eq!(
        (evaluation.read, payloads(&evaluation.actions[0])),
        (2, vec![r#"{"o":0}"#.into(), r#"{"o":2}"#.into()])
    );
}

/// Everything that an evaluation says, in a form that can be compared.
fn described(evaluation: &RuleEvaluation) -> String {
    let rows = evaluation
        .actions
        .iter()
        .map(|rows| (rows.source.to_vec(), rows.row.to_vec(), payloads(rows), rows.arguments.clone()));
    let rows: Vec<_> = rows.collect();
    let failures = evaluation.failures.as_ref().map(|f| (f.source.clone(), f.reasons.clone(), f.arguments.clone()));
    let counts = (evaluation.read, evaluation.matched, evaluation.unmatched, evaluation.failed);
    format!("{} {counts:?} {:?} {rows:?} {failures:?}", evaluation.rule, evaluation.mismatches)
}

/// Forty rules of some shapes, over topics that overlap or not.
fn many_rules() -> String {
    let mut script = String::new();
    for i in 0..40 {
        let source = match i % 4 {
            0 => format!("A1B2C3D4E5/d{}/event", i % 8),
            1 => "A1B2C3D4E5/+/event".to_owned(),
            2 => "#".to_owned(),
            _ => format!("A1B2C3D4E5/d{}/#", i % 3),
        };
        let (select, condition) = match i % 5 {
            0 => (format!("deviceName() AS device, temp, {i} AS i"), format!("temp > {}", i % 3 * 10)),
            1 => ("*".to_owned(), format!("status = '{}'", ["ok", "bad"][i % 2])),
            2 => (format!("*, temp * {i} AS temp"), format!("temp < {i} OR status LIKE 'o%'")),
            3 if i < 20 => ("pos.lat AS lat, vals[0] AS v".to_owned(), format!("vals[0]::bigint <> {}", i % 2)),
            3 if i < 24 => ("temp + vals[0] AS sum".to_owned(), "pos.lat > vals[0]::double".to_owned()),
            // The shape of `temp > …` over another path.
            3 => ("pos.lat + 2 AS lat, 'é' AS e".to_owned(), format!("pos.lat > {}", i % 7)),
            _ => ("msg.offset AS o, 'x' AS x".to_owned(), "msg.device <> 'd1'".to_owned()),
        };
        script += &format!(
            "CREATE RULE r{i} TO republish(topic => 'out/{i}/${{msg.device}}/${{upper(status)}}') ON ERROR TO republish(topic => 'e/{i}/${{msg.device}}')
             AS SELECT {select} FROM '{source}' WHERE {condition};"
        );
    }
    script
}

fn message() -> impl Strategy<Value = (String, String)> {
    let topic = prop::sample::select(vec![
        "A1B2C3D4E5/d0/event",
        "A1B2C3D4E5/d1/event",
        "A1B2C3D4E5/d4/event",
        "A1B2C3D4E5/d1/x",
        "other",
    ]);
    let payload = prop_oneof![
        6 => (0..40, prop::sample::select(vec!["ok", "bad", "o"]), 0..3).prop_map(|(temp, status, v)| {
            format!(r#"{{"temp":{temp}.5,"status":"{status}","vals":[{v}],"pos":{{"lat":{temp}}}}}"#)
        }),
        1 => Just(r#"{"temp":"hot","status":3}"#.to_owned()),
        1 => Just("[1,2]".to_owned()),
        1 => Just(r#"{"temp":1"#.to_owned()),
        1 => Just("\u{1}".to_owned()),
    ];
    (topic.prop_map(str::to_owned), payload)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_row_does_not_depend_on_its_batch(batch in prop::collection::vec(message(), 1..200)) {
        static SET: std::sync::LazyLock<Arc<dyn Evaluator>> = std::sync::LazyLock::new(|| set(&many_rules()));
        let all: Vec<_> = batch.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str())).collect();
        let records = messages(&all);
        let evaluations = SET.evaluate(&records);

        // A rule alone gives the same as all rules together.
        for evaluation in &evaluations {
            let alone = SET.evaluate_rule(&evaluation.rule, RulePart::Rows, &records).unwrap();
            prop_assert_eq!(described(evaluation), described(&alone));
            prop_assert_eq!(evaluation.read, evaluation.matched + evaluation.unmatched + evaluation.failed);
        }
        let reported: Vec<_> = evaluations.iter().map(|evaluation| &evaluation.rule).collect();
        for i in 0..40 {
            let name = format!("r{i}").parse().unwrap();
            let read = SET.evaluate_rule(&name, RulePart::Rows, &records).unwrap().read;
            prop_assert_eq!(reported.iter().filter(|rule| ***rule == name).count(), usize::from(read > 0));
        }

        // A message alone gives the same as in its batch.
        for (row, message) in all.iter().enumerate().take(30) {
            let mut single = records::batch(&[(message.0, message.1.as_bytes())]).columns().to_vec();
            // It keeps its offset and time.
            let whole = records::batch(&[(message.0, message.1.as_bytes())]);
            for column in [0, 2] {
                let batch: Vec<_> = all.iter().map(|(topic, payload)| (*topic, payload.as_bytes())).collect();
                single[column] = records::batch(&batch).column(column).slice(row, 1);
            }
            let single = Records::try_from(&RecordBatch::try_new(whole.schema(), single).unwrap()).unwrap();
            for alone in SET.evaluate(&single) {
                let together = evaluations.iter().find(|evaluation| evaluation.rule == alone.rule).unwrap();
                let rows = together.actions.first();
                let at = rows.and_then(|rows| rows.source.iter().position(|source| *source as usize == row));
                prop_assert_eq!(alone.matched == 1, at.is_some());
                if let (Some(rows), Some(at)) = (rows, at) {
                    prop_assert_eq!(rows.payload.value(at), alone.actions[0].payload.value(0));
                    for (ours, theirs) in rows.arguments.iter().zip(&alone.actions[0].arguments) {
                        prop_assert_eq!(ours.1.slice(at, 1), theirs.1.clone());
                    }
                }
                let failed = together.failures.as_ref().is_some_and(|f| f.source.contains(&(row as u32)));
                prop_assert_eq!(alone.failed == 1, failed);
            }
        }
    }
}

#[test]
fn rules_that_differ_in_literals_and_paths_share_what_they_are_made_of() {
    let script = |from: usize, to: usize| {
        let rule = |i: usize| {
            let (path, select) = (["a", "b.c"][i % 2], ["x, 'é' AS e", "x * 2 + 1 AS x", "upper(s) AS s"][i % 3]);
            format!(
                "CREATE RULE r{i} TO republish(topic => 'out/{i}/${{msg.device}}') AS SELECT {select}
                 FROM 't/{i}' WHERE {path} > {} AND status LIKE 'ok%';",
                i % 20
            )
        };
        rules(&(from..to).map(rule).collect::<String>())
    };
    let programs = |rules: &[RuleDefinition]| {
        rules.iter().map(|rule| crate::plan::plan(rule, &Catalog::default()).unwrap()).collect()
    };
    let few = RuleSet::empty().with_programs(programs(&script(0, 60))).map_err(|(_, error)| error).unwrap();
    let sizes = |set: &RuleSet| {
        let Index { inputs, expressions, literals, .. } = &*set.index;
        (inputs.len(), expressions.len(), literals.len())
    };
    // 20 thresholds, of which each meets one path, and two values that are computed; three shapes.
    assert_eq!(sizes(&few), (7, 22, 3));
    // Added later, replaced and one taken away, rules are made of the same.
    let more = few.with_programs(programs(&script(30, 120))).map_err(|(_, error)| error).unwrap();
    assert_eq!((more.len(), sizes(&more)), (120, sizes(&few)));
    let sets = |set: &RuleSet| set.index.parts.iter().map(|parts| Arc::as_ptr(&parts.values)).collect::<Vec<_>>();
    let mut distinct = sets(&more);
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 3);
}

#[test]
fn a_selection_is_a_batch_of_the_columns() {
    let definitions =
        rules("CREATE RULE r TO republish(topic => 'o') AS SELECT temp + 1 AS t, status FROM 't/+' WHERE temp > 1");
    let program = crate::plan::plan(&definitions[0], &Catalog::default()).unwrap();
    let set = RuleSet::empty().with_programs(vec![program]).map_err(|(_, error)| error).unwrap();
    let batch = messages(&[
        ("t/a", r#"{"temp":2,"status":"x"}"#),
        ("t/b", r#"{"temp":1}"#),
        ("u", r#"{"temp":5}"#),
        ("t/c", "{"),
    ]);
    let selected = set.select(&"r".parse().unwrap(), &batch).unwrap();
    assert_eq!(selected.num_rows(), 1);
    assert_eq!(selected.schema().field(0).name(), "t");
    assert_eq!(selected.schema().field(0).data_type(), &DataType::Float64);
    let none = set.select(&"r".parse().unwrap(), &messages(&[("t/b", r#"{"temp":1}"#)])).unwrap();
    assert_eq!((none.num_rows(), none.schema()), (0, selected.schema()));
}

use weir_core::statement::{ActionDefinition, RuleDefinition, Setting, SinkDefinition, StartFrom, Statement};

use super::*;

fn rule(script: &str) -> RuleDefinition {
    match parse(script).unwrap().pop() {
        Some(Statement::CreateRule(rule)) => rule,
        other => panic!("{script} is {other:?}"),
    }
}

fn literal(name: &str, value: &str) -> (String, Setting) {
    (name.to_owned(), Setting::Literal(value.to_owned()))
}

#[test]
fn a_script_is_its_statements_in_order() {
    let script = "
        -- Archive everything; the semicolon here is no end.
        CREATE SINK archive USING parquet WITH (path = 'a;b/', every = 5, on = true, token = secret('t'));
        create rule hot to archive as select * from 'a/#';;
        /* off */ DISABLE RULE hot; ENABLE RULE hot; DROP RULE hot; DROP SINK archive
    ";
    let statements = parse(script).unwrap();
    let [sink, rule, rest @ ..] = statements.as_slice() else { panic!("{statements:?}") };
    assert_eq!(
        *sink,
        Statement::CreateSink(SinkDefinition {
            name: "archive".parse().unwrap(),
            text: "CREATE SINK archive USING parquet WITH (path = 'a;b/', every = 5, on = true, token = secret('t'))"
                .to_owned(),
            kind: "parquet".to_owned(),
            settings: vec![
                literal("path", "a;b/"),
                literal("every", "5"),
                literal("on", "true"),
                ("token".to_owned(), Setting::Secret("t".parse().unwrap())),
            ],
            grants: vec![],
        })
    );
    assert!(
        matches!(rule, Statement::CreateRule(rule) if rule.text == "create rule hot to archive as select * from 'a/#'")
    );
    let name = || "hot".parse().unwrap();
    assert_eq!(
        rest,
        [
            Statement::DisableRule(name()),
            Statement::EnableRule(name()),
            Statement::DropRule(name()),
            Statement::DropSink("archive".parse().unwrap()),
        ]
    );
}

#[test]
fn a_rule_keeps_its_text_and_its_parts() {
    let text = "CREATE RULE overheat
  TO republish(topic => '${msg.product}/it''s', qos => 1), -- back to the panel
     plugin.influxdb(field => -2.5),
     archive
  ON ERROR TO webhook(url => 'http://127.0.0.1:9000/failed')
  START FROM BEGINNING
AS SELECT temp FROM 'A1B2C3D4E5/+/event' WHERE temp > 30";
    let rule = rule(&format!("\n{text} ;"));
    assert_eq!(rule.text, text);
    assert_eq!(rule.start, StartFrom::Beginning);
    assert_eq!(rule.sources, ["A1B2C3D4E5/+/event".parse().unwrap()]);
    let action = |target: &str, settings| ActionDefinition { target: target.to_owned(), settings };
    let topic = ("topic".to_owned(), Setting::Template("${msg.product}/it's".to_owned()));
    assert_eq!(
        rule.actions,
        [
            action("republish", vec![topic, literal("qos", "1")]),
            action("plugin.influxdb", vec![literal("field", "-2.5")]),
            action("archive", vec![]),
        ]
    );
    assert_eq!(rule.on_error, Some(action("webhook", vec![literal("url", "http://127.0.0.1:9000/failed")])));
}

#[test]
fn a_script_may_be_empty() {
    assert_eq!(parse(" -- nothing\n ; ").unwrap(), []);
}

#[test]
fn what_is_too_long_or_too_deep_is_refused_and_not_overflowed() {
    let check = |expression: &str| {
        let script = format!("CREATE RULE r TO a AS SELECT {expression} AS x FROM 'a'");
        parse(&script).and_then(|statements| match statements.as_slice() {
            [Statement::CreateRule(rule)] => crate::plan::plan(rule, &weir_core::seams::Catalog::default()).map(drop),
            other => panic!("{other:?}"),
        })
    };
    for expression in [
        "1+".repeat(4_000) + "1",
        "NOT ".repeat(1_000) + "a",
        "(".repeat(1_000) + "a" + &")".repeat(1_000),
        "abs(".repeat(1_000) + "a" + &")".repeat(1_000),
        "a.".repeat(1_000) + "a || b" + &" || c".repeat(1_000),
        "CASE WHEN a THEN ".repeat(500) + "b" + &" END".repeat(500),
        "a = 1 OR ".repeat(9_000) + "b",
    ] {
        let error = check(&expression).unwrap_err();
        let known = ["nested too deep", "more than 10000 words"];
        assert!(known.iter().any(|text| error.message.contains(text)), "{}", error.message);
    }
    check(&("a = 1 OR ".repeat(1_000) + "b")).unwrap();
    check(&("1 + ".repeat(60) + "a")).unwrap();
    check(&("upper(".repeat(40) + "a" + &")".repeat(40))).unwrap();
}

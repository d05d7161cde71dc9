use weir_core::{seams::FieldType, statement::Statement};

use super::*;
use crate::program::{ColumnType, Input};

fn program(select: &str, catalog: &Catalog) -> Result<Program, SqlError> {
    let script = format!("CREATE RULE r TO sink AS {select}");
    match crate::language::parse(&script)?.as_slice() {
        [Statement::CreateRule(rule)] => plan(rule, catalog),
        other => panic!("{script} is {other:?}"),
    }
}

/// Which columns an expression reads: `n`umber, `i`nteger, `t`ext, `b`oolean, `j`son, `c`anonical.
fn reads(expression: &str) -> String {
    let catalog = Catalog::default();
    let program = program(&format!("SELECT {expression} AS x FROM 'a/b' AS t"), &catalog);
    let program = program.unwrap_or_else(|error| panic!("{error}"));
    let names = program.inputs.iter().map(|input| match input {
        Input::Path { path, column_type } => {
            let letter = match column_type {
                ColumnType::Number => 'n',
                ColumnType::Integer => 'i',
                ColumnType::Text => 't',
                ColumnType::Boolean => 'b',
                ColumnType::Json => 'j',
                ColumnType::Canonical => 'c',
            };
            format!("{path}:{letter}")
        }
        Input::Envelope(column) => format!("{column:?}"),
        other => format!("{other:?}"),
    });
    names.collect::<Vec<_>>().join(" ")
}

fn check(expression: &str, expected: &str) {
    assert_eq!(reads(expression), expected, "{expression}");
}

#[test]
fn an_occurrence_takes_the_type_that_its_use_demands() {
    check("temp", "temp:j");
    check("(temp)", "temp:j");
    check("temp * 9 / 5 + 32", "temp:n");
    check("a + b", "a:n b:n");
    check("-a", "a:n");
    check("temp > 30", "temp:n");
    check("30 < temp", "temp:n");
    check("a - b > c", "a:n b:n c:n");
    check("color = 'red'", "color:t");
    check("color LIKE 'r%' OR name ILIKE other", "color:t name:t other:t");
    check("a || b", "a:t b:t");
    check("active AND NOT off", "active:b off:b");
    check("active = true", "active:b");
    check("active IS TRUE", "active:b");
    check("id::bigint = 9007199254740993", "id:i");
    check("CAST(id AS BIGINT) + 1", "id:i");
    check("a::double < b", "a:n b:n");
    check("a::text", "a:t");
    check("a::boolean", "a:b");
    check("ts::timestamp > now()", "ts:t AcceptedAt");
    check("color IN ('red', 'green')", "color:t");
    check("3 IN (a, b)", "a:n b:n");
    check("temp BETWEEN 1 AND max", "temp:n max:n");
    check("temp > 3 AND temp IS NOT NULL", "temp:n temp:j");
    check("a & 3", "a:i");
    check("a ~ 'x'", "a:t");
}

#[test]
fn values_of_no_type_are_compared_as_json() {
    check("a = b", "a:c b:c");
    check("a <> b", "a:c b:c");
    check("a IN (b, c)", "a:c b:c c:c");
    check("a IS NULL", "a:j");
    check("a IS DISTINCT FROM b", "a:c b:c");
    check("a IS NOT DISTINCT FROM NULL", "a:c");
}

#[test]
fn what_chooses_passes_the_demand_on() {
    check("CASE WHEN a > 1 THEN b END", "a:n b:j");
    check("CASE WHEN a > 1 THEN b END + 1", "a:n b:n");
    check("CASE WHEN a > 1 THEN b ELSE 'low' END", "a:n b:t");
    check("CASE color WHEN 'red' THEN 1 WHEN other THEN x END", "color:t other:t x:n");
    check("coalesce(a, b)", "a:j b:j");
    check("coalesce(a, b, 0)", "a:n b:n");
    check("coalesce(a, b) > 3", "a:n b:n");
    check("upper(coalesce(a, b))", "a:t b:t");
    check("coalesce(a, b)::bigint", "a:i b:i");
    check("nullif(a, 0)", "a:n");
    check("nullif(a, b)", "a:c b:c a:j");
    check("nullif(a, b) LIKE 'x'", "a:c b:c a:t");
    check("ifnull(a, 'none')", "a:t");
    check("nvl2(a, b, 1)", "a:j b:n");
    check("coalesce(nullif(a, ''), b)", "a:t b:t");
    check("greatest(a, 3)", "a:n");
}

#[test]
fn arguments_take_the_type_of_the_signature() {
    check("upper(name)", "name:t");
    check("abs(x)", "x:n");
    check("power(a, b)", "a:n b:n");
    check("round(x, digits)", "x:n digits:i");
    check("substr(name, start)", "name:t start:i");
    check("substring(name FROM 2 FOR n)", "name:t n:i");
    check("split_part(path, '/', 2)", "path:t");
    check("concat(a, '-', b)", "a:j b:j");
    check("replace(a, b, c)", "a:t b:t c:t");
    check("char_length(a)", "a:t");
    check("to_timestamp_millis(ts)", "ts:i");
    check("to_timestamp(ts::double)", "ts:n");
    check("from_unixtime(ts)", "ts:i");
    check("date_trunc('hour', msg.time)", "AcceptedAt");
    check("extract(hour FROM ts::timestamp)", "ts:t");
    check("trim(BOTH ' ' FROM name)", "name:t");
    check("position('a' IN name)", "name:t");
    check("ceil(x) + floor(y)", "x:n y:n");
    check("regexp_like(name, pattern)", "name:t pattern:t");
    check("lpad(name, n, '0')", "name:t n:i");
    check("array_length(vals::double[])", "vals:j");
    check("array_has(tags::text[], color)", "tags:j color:t");
    check("encode(name, 'base64')", "name:t");
    check("starts_with(name, 'a') AND levenshtein(a, b) < c", "name:t a:t b:t c:n");
    check("isnan(x)", "x:n");
    check("to_hex(n)", "n:i");
}

#[test]
fn names_are_paths_with_their_case_kept() {
    check("pos.lat + 1", "pos.lat:n");
    check("vals[0]", "vals[0]:j");
    check("a.b[0].c", "a.b[0].c:j");
    check("a[1][2]", "a[1][2]:j");
    check("a['b c'].d", "a.b c.d:j");
    check("batteryLevel", "batteryLevel:j");
    check("\"Mixed Case\".\"with.dot\"", "Mixed Case.with.dot:j");
    check("t.temp", "temp:j");
    check("t", "t:j");
    check("msg", "msg:j");
    check("\"msg\".text", "msg.text:j");
    check("msg.device", "Device");
    check("größe", "größe:j");
    for name in [
        "timestamp",
        "time",
        "date",
        "value",
        "key",
        "type",
        "user",
        "order",
        "group",
        "start",
        "interval",
        "position",
        "current",
        "year",
        "level",
        "status",
        "index",
        "table",
        "desc",
        "limit",
        "offset",
        "to",
        "set",
        "any",
        "left",
        "right",
        "json",
        "row",
        "rows",
        "first",
        "last",
        "min",
        "max",
        "avg",
        "sum",
        "count",
        "name",
        "trim",
        "substring",
        "overlay",
        "array",
        "map",
        "struct",
        "text",
        "double",
        "boolean",
        "end",
        "on",
        "by",
        "having",
    ] {
        check(name, &format!("{name}:j"));
        check(&format!("{name} > 3"), &format!("{name}:n"));
        check(&format!("data.{name}"), &format!("data.{name}:j"));
    }
}

#[test]
fn a_program_reads_each_column_once() {
    let program = program("SELECT temp, temp, temp + temp FROM 'a' WHERE temp > 3", &Catalog::default()).unwrap();
    assert_eq!(program.inputs.len(), 2);
    let names: Vec<_> = program.output.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["temp", "temp_2", "column"]);
}

#[test]
fn a_declared_type_decides_where_use_does_not() {
    let fields = [("temp", FieldType::Number), ("count", FieldType::Integer), ("color", FieldType::Text)];
    let fields = fields.map(|(name, field_type)| (name.to_owned(), field_type)).into();
    let catalog = Catalog { schemas: [("A1B2C3D4E5".parse().unwrap(), fields)].into(), ..Catalog::default() };
    let check = |expression: &str, expected: &[ColumnType]| {
        let program = program(&format!("SELECT {expression} AS x FROM 'A1B2C3D4E5/+/event'"), &catalog).unwrap();
        let types: Vec<_> = program
            .inputs
            .iter()
            .filter_map(|input| match input {
                Input::Path { column_type, .. } => Some(*column_type),
                _ => None,
            })
            .collect();
        assert_eq!(types, expected, "{expression}");
    };
    use ColumnType::{Canonical, Integer, Json, Number, Text};
    check("temp", &[Json]);
    check("temp < count", &[Number, Number]);
    check("count = count", &[Integer]);
    check("temp = color", &[Canonical, Canonical]);
    check("greatest(color, 'a')", &[Text]);
    check("abs(count)", &[Integer]);
    check("count + 1", &[Number]);
}

#[test]
fn the_settings_of_a_sink_stand_in_for_its_name() {
    use weir_core::statement::Setting;

    use crate::program::Piece;

    let script = "CREATE RULE r TO archive ON ERROR TO archive AS SELECT temp FROM 'a/b'";
    let statements = crate::language::parse(script).unwrap();
    let [Statement::CreateRule(rule)] = statements.as_slice() else { panic!("{statements:?}") };
    let mut rule = rule.clone();
    let resolve = |rule: &mut RuleDefinition, template: &str| {
        let settings = vec![
            ("path".to_owned(), Setting::Template(template.to_owned())),
            ("every".to_owned(), Setting::Literal("5".to_owned())),
        ];
        rule.actions[0].target = "parquet".to_owned();
        rule.actions[0].settings = settings;
    };

    resolve(&mut rule, "telemetry/${msg.product}/${temp}");
    let program = plan(&rule, &Catalog::default()).unwrap();
    let [argument] = program.arguments[0].as_slice() else { panic!("{:?}", program.arguments) };
    assert_eq!(argument.setting, "path");
    assert!(matches!(argument.pieces.as_slice(), [Piece::Literal(_), Piece::Expression(_), Piece::Literal(_), _]));

    // A place in the sink's text would mean nothing to who writes the rule.
    resolve(&mut rule, "telemetry/${msg.produkt}");
    let error = plan(&rule, &Catalog::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "setting path = 'telemetry/${msg.produkt}': msg has no field produkt\n  hint: did you mean msg.product?"
    );
}

#[test]
fn nested_choices_do_not_multiply() {
    for (open, close) in [
        ("coalesce(", ", 1)"),
        ("nullif(", ", 1)"),
        ("ifnull(", ", b)"),
        ("CASE ", " WHEN 1 THEN 2 WHEN 3 THEN 4 ELSE 5 END"),
        ("nvl2(a, ", ", b)"),
        ("greatest(", ", 2)"),
    ] {
        let expression = open.repeat(25) + "a" + &close.repeat(25);
        program(&format!("SELECT {expression} AS x FROM 'a'"), &Catalog::default())
            .unwrap_or_else(|error| panic!("{expression}: {error}"));
    }
}

/// Texts made of what a SELECT is made of: whatever they are, they are planned or refused.
mod any_text {
    use proptest::prelude::*;

    use super::*;

    const WORDS: [&str; 84] = [
        "SELECT",
        "FROM",
        "WHERE",
        "'a/+'",
        "'x'",
        "a",
        "b",
        "t.c",
        "msg.device",
        "msg.time",
        "vals[0]",
        "*",
        ",",
        "(",
        ")",
        "=",
        "<",
        "<>",
        "+",
        "-",
        "/",
        "%",
        "||",
        "AND",
        "OR",
        "NOT",
        "IS",
        "NULL",
        "TRUE",
        "IN",
        "BETWEEN",
        "LIKE",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "CAST",
        "AS",
        "bigint",
        "::text",
        "::double",
        "::boolean",
        "::timestamp",
        "::bigint",
        "::double[]",
        "1",
        "2.5",
        "9007199254740993",
        "upper(",
        "round(",
        "coalesce(",
        "nullif(",
        "topic(",
        "now()",
        "date_trunc(",
        "INTERVAL '1 hour'",
        "concat(",
        "array_length(",
        "substr(",
        "count(*)",
        "avg(",
        "max(",
        "GROUP BY",
        "HAVING",
        "ORDER BY",
        "DESC",
        "LIMIT",
        "DISTINCT",
        "payload()",
        "timestamp()",
        "regexp_like(",
        "to_timestamp_millis(",
        "extract(hour FROM",
        "substring(",
        "greatest(",
        "[",
        "]",
        "~",
        "&",
        "\"q\"",
        "${",
        "}",
        ";",
    ];

    proptest! {
        #[test]
        fn is_planned_or_refused(words in prop::collection::vec(prop::sample::select(WORDS.as_slice()), 1..24)) {
            let text = words.join(" ");
            for select in [text.clone(), format!("SELECT {text} FROM 'a/+'"), format!("SELECT a FROM 'a/+' WHERE {text}")] {
                let planned = program(&select, &Catalog::default());
                let queried = plan_query(&select, &Catalog::default());
                for error in [planned.err(), queried.err()].into_iter().flatten() {
                    prop_assert!(error.position.is_some() || error.message.contains("setting"), "{select}: {error}");
                    for word in ["Internal", "not implemented", "Schema", "DataFusion", "planned: ", "#key", "$"] {
                        prop_assert!(!error.message.contains(word) || select.contains(word), "{select}: {error}");
                    }
                }
            }
        }
    }
}

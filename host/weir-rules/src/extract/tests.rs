use std::sync::Arc;

use arrow::{
    array::{AsArray, BinaryArray},
    datatypes::{Float64Type, Int64Type},
};
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::*;
use crate::program::Step;

fn path(text: &str) -> JsonPath {
    let mut steps = Vec::new();
    for part in text.split('.').filter(|part| !part.is_empty()) {
        let (key, indexes) = part.split_once('[').unwrap_or((part, ""));
        if !key.is_empty() {
            steps.push(Step::Key(key.into()));
        }
        steps.extend(indexes.split(['[', ']']).filter_map(|index| index.parse().ok()).map(Step::Index));
    }
    JsonPath(steps.into())
}

fn extract(columns: &[(&str, ColumnType)], payloads: &[&[u8]]) -> Extracted {
    let columns: Vec<_> = columns.iter().map(|(text, column_type)| (path(text), *column_type)).collect();
    let rows: Vec<u32> = (0..payloads.len() as u32).collect();
    Extractor::new(&columns).extract(&BinaryArray::from_vec(payloads.to_vec()), &rows)
}

/// The value of one path in one payload as text, "NULL", "mismatch" or "malformed".
fn one(payload: &str, text: &str, column_type: ColumnType) -> String {
    let found = extract(&[(text, column_type)], &[payload.as_bytes()]);
    if !found.malformed.is_empty() {
        return "malformed".into();
    }
    let column = &found.columns[0];
    if column.is_null(0) {
        return if found.mismatches[0].is_empty() { "NULL" } else { "mismatch" }.into();
    }
    match column_type {
        ColumnType::Number => column.as_primitive::<Float64Type>().value(0).to_string(),
        ColumnType::Integer => column.as_primitive::<Int64Type>().value(0).to_string(),
        ColumnType::Boolean => column.as_boolean().value(0).to_string(),
        ColumnType::Text | ColumnType::Json | ColumnType::Canonical => column.as_string::<i32>().value(0).into(),
    }
}

fn check(payload: &str, text: &str, column_type: ColumnType, expected: &str) {
    assert_eq!(one(payload, text, column_type), expected, "{text} as {column_type:?} in {payload}");
}

#[test]
fn paths_lead_through_objects_and_arrays() {
    use ColumnType::{Json, Number, Text};
    let payload = r#" { "temp" : 21.5 , "pos":{"lat":1,"deep":{"er":[[],[7,8]]}},"vals":[3,{"x":"y"}], "":4, "long key of mine":5 } "#;
    check(payload, "temp", Number, "21.5");
    check(payload, "pos.lat", Number, "1");
    check(payload, "pos.deep.er[1][1]", Number, "8");
    check(payload, "pos.deep", Json, r#"{"er":[[],[7,8]]}"#);
    check(payload, "vals[1].x", Text, "y");
    check(payload, "vals[2]", Number, "NULL");
    check(payload, "vals.x", Number, "NULL");
    check(payload, "temp.x", Number, "NULL");
    check(payload, "long key of mine", Number, "5");
    check(payload, "long key of yours", Number, "NULL");
    check("[1,[2]]", "[1][0]", Number, "2");
    check("7", "temp", Number, "NULL");
    check(" [1, 2] ", "", Json, "[1, 2]");
}

#[test]
fn a_value_is_of_the_demanded_type_or_null() {
    use ColumnType::{Boolean, Canonical, Integer, Json, Number, Text};
    check(r#"{"a":null}"#, "a", Number, "NULL");
    check(r#"{"a":null}"#, "a", Json, "NULL");
    check(r#"{"b":1}"#, "a", Number, "NULL");
    check(r#"{"a":"1"}"#, "a", Number, "mismatch");
    check(r#"{"a":1}"#, "a", Text, "mismatch");
    check(r#"{"a":{}}"#, "a", Text, "mismatch");
    check(r#"{"a":true}"#, "a", Boolean, "true");
    check(r#"{"a":0}"#, "a", Boolean, "mismatch");
    check(r#"{"a":1e400}"#, "a", Number, "mismatch");
    check(r#"{"a":1e-400}"#, "a", Number, "0");
    check(r#"{"a":-0.25}"#, "a", Number, "-0.25");
    check(r#"{"a":9007199254740993}"#, "a", Number, "9007199254740992");
    check(r#"{"a":9007199254740993}"#, "a", Integer, "9007199254740993");
    check(r#"{"a":-9223372036854775808}"#, "a", Integer, "-9223372036854775808");
    check(r#"{"a":9223372036854775808}"#, "a", Integer, "mismatch");
    check(r#"{"a":12.50e1}"#, "a", Integer, "125");
    check(r#"{"a":-0.0}"#, "a", Integer, "0");
    check(r#"{"a":1.5}"#, "a", Integer, "mismatch");
    check(r#"{"a":1e999999999999}"#, "a", Integer, "mismatch");
    check(r#"{"a":1e9223372036854775807}"#, "a", Integer, "mismatch");
    check(r#"{"a":"\u00e9\ud83d\ude00\n\/x"}"#, "a", Text, "é😀\n/x");
    check(r#"{"a":"\u00e9"}"#, "a", Json, r#""\u00e9""#);
    check(r#"{"a":"\u00e9\/\u0001\t"}"#, "a", Canonical, "\"é/\\u0001\\t\"");
}

#[test]
fn the_last_of_duplicate_keys_wins_with_all_below_it() {
    use ColumnType::{Json, Number};
    check(r#"{"a":1,"a":2}"#, "a", Number, "2");
    check(r#"{"a":{"b":1,"c":2},"a":{"c":3}}"#, "a.b", Number, "NULL");
    check(r#"{"a":{"b":1},"a":5}"#, "a.b", Number, "NULL");
    check(r#"{"a":1,"\u0061":2}"#, "a", Number, "2");
    check(r#"{"a":[1],"a":{"0":2}}"#, "a[0]", Number, "NULL");
    check(r#"{"a":1,"a":null}"#, "a", Json, "NULL");

    let both = extract(&[("a", Json), ("a.b", Number)], &[br#"{"a":{"b":1},"a":{"b":2}}"#]);
    assert_eq!(both.columns[0].as_string::<i32>().value(0), r#"{"b":2}"#);
    assert_eq!(both.columns[1].as_primitive::<Float64Type>().value(0), 2.0);
}

#[test]
fn canonical_texts_are_equal_where_values_are() {
    let same = |texts: &[&str], expected: &str| {
        for text in texts {
            check(&format!(r#"{{"a":{text}}}"#), "a", ColumnType::Canonical, expected);
        }
    };
    same(&["1", "1.0", "1e0", "10e-1", "0.1e1", "1.000"], "1");
    same(&["0", "-0", "0.0", "0e9", "-0e-9"], "0");
    same(&["100", "1e2", "1.00E+2"], "100");
    same(&["0.000001", "1e-6"], "0.000001");
    same(&["0.0000001", "1e-7"], "1e-7");
    same(&["1e21", "10E20"], "1e21");
    same(&["-12.50", "-125e-1"], "-12.5");
    same(&["123456789012345678901234567890", "12345678901234567890123456789e1"], "1.2345678901234567890123456789e29");
    same(&[r#"{"b":1,"a":[1.0,{}]}"#, r#"{ "a" : [ 1 , { } ], "b":7, "b":1e0 }"#], r#"{"a":[1,{}],"b":1}"#);
    same(&["\"a\\u002fb\"", "\"a\\/b\"", "\"a/b\""], "\"a/b\"");
    same(&["true"], "true");
}

#[test]
fn a_malformed_payload_fails_alone() {
    let payloads: [&[u8]; 6] = [br#"{"a":1}"#, br#"{"a":2"#, b"{\"a\":\"\xff\"}", b"", br#"{"a":"x"}"#, br#"{"a":3}"#];
    let found = extract(&[("a", ColumnType::Number)], &payloads);
    assert_eq!(found.malformed, [1, 2, 3]);
    assert_eq!(found.mismatches, [[4]]);
    let values: Vec<_> = found.columns[0].as_primitive::<Float64Type>().iter().collect();
    assert_eq!(values, [Some(1.0), None, None, None, None, Some(3.0)]);

    // A character that is cut by the border between two payloads is whole in neither.
    let cut = extract(&[("a", ColumnType::Text)], &[b"\"\xc3", b"\xa9\"", "\"é\"".as_bytes()]);
    assert_eq!(cut.malformed, [0, 1]);
}

#[test]
fn rows_are_picked_from_a_slice() {
    let all = BinaryArray::from_vec(vec![b"x" as &[u8], b"{\"a\":1}", b"{\"a\":2}", b"{\"a\":3}"]);
    let extractor = Extractor::new(&[(path("a"), ColumnType::Integer)]);
    let found = extractor.extract(&all.slice(1, 3), &[0, 2, 2]);
    assert_eq!(found.columns[0].as_primitive::<Int64Type>().values(), &[1, 3, 3]);
}

#[test]
fn depth_is_bounded() {
    let nested = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    for (depth, accepted) in [(127, true), (128, false), (100_000, false)] {
        let array = nested("[", "]", depth);
        assert_eq!(is_valid("a", array.as_bytes()), accepted);
        assert_eq!(is_valid("[0][0]", array.as_bytes()), accepted);
        assert_eq!(serde_json::from_str::<Value>(&array).is_ok(), accepted);
    }
    let steps = JsonPath(vec![Step::Index(0); 100_000].into());
    let found = Extractor::new(&[(steps, ColumnType::Number)]).extract(&BinaryArray::from_vec(vec![b"[[1]]"]), &[0]);
    assert!(found.malformed.is_empty() && found.columns[0].is_null(0));
}

fn canonical_of(text: &str) -> String {
    let mut into = String::new();
    super::canonical::canonical(text, &mut into);
    into
}

fn is_valid(text: &str, payload: &[u8]) -> bool {
    extract(&[(text, ColumnType::Json)], &[payload]).malformed.is_empty()
}

/// What serde_json says, save that it refuses numbers beyond the doubles, which are only a mismatch here. Nothing where
/// it cannot judge: what it reads without looking at numbers, it reads without looking into strings either.
fn is_valid_to_serde(payload: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<Value>(payload) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().starts_with("number out of range") => {
            let has_plain_strings = !payload.contains(&b'\\') && str::from_utf8(payload).is_ok();
            has_plain_strings.then(|| serde_json::from_slice::<IgnoredAny>(payload).is_ok())
        }
        Err(_) => Some(false),
    }
}

#[test]
fn accepts_what_serde_json_accepts() {
    for payload in [
        "{}",
        "[]",
        " {\t}\r\n",
        "[ ]",
        "[1,]",
        "[,1]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\" : 1}",
        "{a:1}",
        "01",
        "-01",
        "-",
        "+1",
        ".5",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "1E-2",
        "-0",
        "-0.0e-0",
        "NaN",
        "Infinity",
        "nul",
        "null",
        "nulll",
        "tru",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\udc00\"",
        "\"\\ud800x\"",
        "\"\\ud800\\u0041\"",
        "\"\u{0}\"",
        "\"\u{1f}\"",
        "\"\u{7f}\"",
        "\"\t\"",
        "{\"a\":1} x",
        "1 2",
        "\u{feff}{}",
        "\u{a0}1",
        "[1}",
        "{\"a\":1]",
        "[[1]",
        "[1]]",
        "{\"a\":{\"b\":[{}]}}",
        "\u{0}",
        "{}\u{0}",
        "1e400",
        "[1e400,-1E999]",
        "\"abcdefgh",
        "\"abcdefgh\"",
        "\"abcdefg\\\"\"",
        "123456789",
        "1234567890123456789012",
        "0.12345678901",
        "0x10",
        "1_000",
        "'a'",
        "",
        " ",
        "//",
        "{\"a\":1/**/}",
        "[\"a\" \"b\"]",
        "{\"a\":1 \"b\":2}",
        "{1:2}",
        "[1:2]",
        "{\"a\",1}",
    ] {
        let expected = is_valid_to_serde(payload.as_bytes());
        for text in ["a", "[0]", "a.b[0].c", "b", ""] {
            assert_eq!(Some(is_valid(text, payload.as_bytes())), expected, "{payload:?} read for {text}");
        }
    }
}

fn json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |x| serde_json::Number::from_f64(x).map(Value::Number)),
        (-1000_i32..1000, 0_i32..4).prop_map(|(m, e)| Value::from(f64::from(m) / 10_f64.powi(e))),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        key().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "temp", "status of it", "status of me", "é\n", "\"", "x\\", ""])
        .prop_map(str::to_owned)
}

/// What a path finds, by serde_json.
fn lookup<'a>(value: &'a Value, path: &JsonPath) -> Option<&'a Value> {
    path.0.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.as_object()?.get(&**key),
        Step::Index(index) => value.as_array()?.get(*index as usize),
    })
}

fn steps() -> impl Strategy<Value = JsonPath> {
    let step = prop_oneof![key().prop_map(|key| Step::Key(key.into())), (0_u32..3).prop_map(Step::Index)];
    prop::collection::vec(step, 1..4).prop_map(|steps| JsonPath(steps.into()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn finds_what_serde_json_finds(value in json(), paths in prop::collection::vec(steps(), 1..6), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        // serde_json reads some doubles one place off: what it read is what it is compared with.
        let value: Value = serde_json::from_str(&text).unwrap();
        let columns: Vec<_> = paths
            .iter()
            .flat_map(|path| [ColumnType::Json, ColumnType::Number, ColumnType::Text, ColumnType::Boolean, ColumnType::Canonical].map(|kind| (path.clone(), kind)))
            .collect();
        let found = Extractor::new(&columns).extract(&BinaryArray::from_vec(vec![text.as_bytes()]), &[0]);
        prop_assert!(found.malformed.is_empty());
        for (path, columns) in paths.iter().zip(found.columns.chunks(5)) {
            let expected = lookup(&value, path).filter(|value| !value.is_null());
            let text = |column: &ArrayRef| column.is_valid(0).then(|| column.as_string::<i32>().value(0).to_owned());
            let json = text(&columns[0]).map(|json| serde_json::from_str::<Value>(&json).unwrap());
            prop_assert_eq!(json.as_ref(), expected);
            let number = columns[1].as_primitive::<Float64Type>();
            let (number, other) = (number.is_valid(0).then(|| number.value(0)), expected.and_then(Value::as_f64));
            prop_assert_eq!(number.is_some(), other.is_some());
            prop_assert!(number.zip(other).is_none_or(|(a, b)| (a - b).abs() <= a.abs() * 1e-15));
            let string = text(&columns[2]);
            prop_assert_eq!(string.as_deref(), expected.and_then(Value::as_str));
            let boolean = columns[3].as_boolean();
            prop_assert_eq!(boolean.is_valid(0).then(|| boolean.value(0)), expected.and_then(Value::as_bool));
            let one_form = text(&columns[4]);
            prop_assert_eq!(one_form.is_some(), expected.is_some());
            if let Some(one_form) = one_form {
                // One form is its own form, and parses.
                prop_assert!(serde_json::from_str::<Value>(&one_form).is_ok());
                prop_assert_eq!(&canonical_of(&one_form), &one_form);
            }
        }
    }

    #[test]
    fn mutated_payloads_are_judged_as_serde_json_judges(
        value in json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            prop::sample::select(b"\"\\{}[]:,0123456789.eE+-tfnu \n\x00\x1f\xc3\xff/".to_vec()),
            any::<u8>(),
        ], 0..4_u8), 1..4),
        path in steps(),
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        for (place, byte, change) in changes {
            let at = place.index(text.len() + 1);
            match change {
                0 => text.insert(at, byte),
                1 if at < text.len() => text[at] = byte,
                2 if at < text.len() => { text.remove(at); }
                _ => text.truncate(at),
            }
        }
        let Some(expected) = is_valid_to_serde(&text) else { return Ok(()) };
        let found = Extractor::new(&[(path, ColumnType::Json)]).extract(&BinaryArray::from_vec(vec![&text]), &[0]);
        prop_assert_eq!(found.malformed.is_empty(), expected, "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn random_bytes_are_judged_as_serde_json_judges(text in prop::collection::vec(
        prop::sample::select(b"\"\\{}[]:,01e.-tfn ua8d\x09\x0b\xc3\xa9".to_vec()), 0..24,
    )) {
        if let Some(expected) = is_valid_to_serde(&text) {
            prop_assert_eq!(is_valid("a", &text), expected, "{:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn numbers_are_the_nearest_doubles(digits in "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?") {
        let expected = digits.parse::<f64>().ok().filter(|value| value.is_finite());
        prop_assert_eq!(super::number::double(&digits).map(f64::to_bits), expected.map(f64::to_bits));
    }

    #[test]
    fn a_quoted_text_is_what_it_was(text: String) {
        let mut quoted = Vec::new();
        quote(&text, &mut quoted);
        prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text.clone());
        prop_assert_eq!(quoted, serde_json::to_vec(&text).unwrap());
    }
}

#[test]
fn an_extractor_can_be_shared() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Arc::new(Extractor::new(&[])));
}

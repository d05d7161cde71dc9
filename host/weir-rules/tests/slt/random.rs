//! Expressions made at random: what is accepted must not fail any message, and must give a message the same row
//! whichever others share its batch, and whichever rules are evaluated with its own (`World::evaluate` checks that).

use proptest::prelude::*;

use weir_rules::cases::{CaseError, World, messages};

const MESSAGES: [&str; 7] = [
    r#"A1B2C3D4E5/one/event {"a": 1, "b": 2.5, "s": "text", "t": true, "l": [1, 2, 3], "o": {"x": 1}}"#,
    r#"A1B2C3D4E5/two/event {"a": -9223372036854775808, "b": 0, "s": "", "t": false, "l": [], "o": null}"#,
    r#"qos=1 A1B2C3D4E5/two/event {"a": "x", "b": "2.5", "s": 7, "t": "true", "l": 5, "o": [1]}"#,
    r#"plain/topic/x {"a": 9223372036854775807, "b": 1e308, "s": "((", "t": null, "l": [[1]], "o": {}}"#,
    r#"plain/topic/y {"a": 1e400, "b": -0.0, "s": "ä\u0000\n\"%_\\", "t": true}"#,
    r#"retain plain/topic/z {}"#,
    r#"plain/topic/z [1, 2]"#,
];

/// Forms by what they give; in them `N`, `I`, `T`, `B`, `M`, `D`, `J` stand for a number, a whole number, a text, true or
/// false, a time, an interval and anything at all.
const NUMBERS: [&str; 30] = [
    "a",
    "b",
    "l[0]",
    "a::double",
    "2.5",
    "0",
    "-1",
    "1e308",
    "N + N",
    "N - N",
    "N * N",
    "N / N",
    "N % N",
    "-N",
    "abs(N)",
    "sqrt(N)",
    "round(N, I)",
    "power(N, N)",
    "log(N, N)",
    "trunc(N, I)",
    "greatest(N, N)",
    "coalesce(N, N)",
    "nullif(N, N)",
    "CASE WHEN B THEN N ELSE N END",
    "CASE N WHEN N THEN N END",
    "extract(epoch FROM M)",
    "date_part('dow', M)",
    "I",
    "N::real",
    "array_element(l::double[], I)",
];
const INTEGERS: [&str; 30] = [
    "a::bigint",
    "l[0]::bigint",
    "msg.offset",
    "msg.qos",
    "payloadLen()",
    "timestamp()",
    "9223372036854775807",
    "0",
    "-1",
    "3",
    "I + I",
    "I - I",
    "I * I",
    "I % I",
    "-I",
    "I & I",
    "I << I",
    "I >> I",
    "~I",
    "length(T)",
    "ascii(T)",
    "strpos(T, T)",
    "to_unixtime(M)",
    "gcd(I, I)",
    "factorial(I)",
    "N::int",
    "levenshtein(T, T)",
    "array_length(l::double[])",
    "T::bigint",
    "nvl2(J, I, I)",
];
const TEXTS: [&str; 40] = [
    "s",
    "a::text",
    "o.x::text",
    "'x'",
    "''",
    "'('",
    "'%'",
    "'2026-01-31T12:00:00Z'",
    "msg.device",
    "topic(I)",
    "T || T",
    "T || N",
    "upper(T)",
    "reverse(T)",
    "trim(T)",
    "initcap(T)",
    "chr(I)",
    "to_hex(I)",
    "repeat(T, I)",
    "lpad(T, I, T)",
    "substr(T, I)",
    "substr(T, I, I)",
    "split_part(T, T, I)",
    "replace(T, T, T)",
    "concat(T, N)",
    "left(T, I)",
    "translate(T, T, T)",
    "regexp_replace(T, T, T)",
    "to_char(M, T)",
    "encode(T, 'hex')",
    "decode(T, 'hex')::text",
    "coalesce(T, T)",
    "nullif(T, T)",
    "CASE WHEN B THEN T END",
    "N::text",
    "M::text",
    "overlay(T PLACING T FROM I)",
    "array_to_string(l::text[], T)",
    "substr_index(T, T, I)",
    "lower(T)",
];
const BOOLEANS: [&str; 28] = [
    "t",
    "TRUE",
    "NULL",
    "msg.retain",
    "NOT B",
    "B AND B",
    "B OR B",
    "N < N",
    "N = N",
    "I >= I",
    "T = T",
    "T > T",
    "M < M",
    "B = B",
    "J IS NULL",
    "B IS NOT TRUE",
    "N BETWEEN N AND N",
    "T IN (T, T)",
    "N IN (N, 1)",
    "T LIKE T",
    "T ILIKE T",
    "T ~ T",
    "starts_with(T, T)",
    "J = J",
    "N IS DISTINCT FROM N",
    "array_has(l::double[], N)",
    "isnan(N)",
    "D > D",
];
const TIMES: [&str; 15] = [
    "msg.time",
    "now()",
    "s::timestamp",
    "T::timestamp",
    "to_timestamp_millis(a)",
    "to_timestamp_millis(I)",
    "to_timestamp_seconds(I)",
    "to_timestamp_nanos(I)",
    "from_unixtime(I)",
    "date_trunc('week', M)",
    "date_bin(INTERVAL '7 minutes', M)",
    "M + D",
    "M - D",
    "coalesce(M, M)",
    "to_timestamp(T)",
];
const INTERVALS: [&str; 4] = ["INTERVAL '1 day'", "INTERVAL '3 months'", "INTERVAL '-5 seconds'", "M - M"];
const PATHS: [&str; 6] = ["a", "s", "o", "l[0][0]", "coalesce(a, s)", "nullif(a, b)"];

/// An expression that the choices decide; beyond the last one each is the first.
fn expression(forms: &[&str], choices: &mut std::slice::Iter<'_, u8>) -> String {
    let choice = choices.next().copied().unwrap_or(0);
    let form = forms[usize::from(choice) % forms.len()];
    let mut text = String::new();
    let mut letters = form.chars().peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        let alone = !before.is_alphanumeric() && !letters.peek().is_some_and(|next| next.is_alphanumeric());
        before = letter;
        let forms: &[&str] = match letter {
            'N' if alone => &NUMBERS,
            'I' if alone => &INTEGERS,
            'T' if alone => &TEXTS,
            'B' if alone => &BOOLEANS,
            'M' if alone => &TIMES,
            'D' if alone => &INTERVALS,
            'J' if alone => &PATHS,
            _ => {
                text.push(letter);
                continue;
            }
        };
        text.push_str(&format!("({})", expression(forms, choices)));
    }
    text
}

fn with_other_literals(expression: &str) -> String {
    let others = [("(2.5)", "(-7.5)"), ("(0)", "(2)"), ("(3)", "(1)"), ("('x')", "('text')"), ("('')", "('x')")];
    others.iter().fold(expression.to_owned(), |text, (one, other)| text.replace(one, other))
}

proptest! {
    #[test]
    fn what_is_accepted_works_for_every_message(choices in prop::collection::vec(any::<u8>(), 1..16)) {
        let mut world = World::default();
        world.messages = messages(MESSAGES.into_iter()).unwrap();
        for (forms, select) in [
            (&NUMBERS[..], "SELECT X AS x FROM '#'"),
            (&INTEGERS[..], "SELECT X AS x FROM '#'"),
            (&TEXTS[..], "SELECT X AS x FROM '#'"),
            (&TIMES[..], "SELECT X AS x FROM '#'"),
            (&INTERVALS[..], "SELECT X AS x FROM '#'"),
            (&BOOLEANS[..], "SELECT a FROM '#' WHERE X"),
        ] {
            let expression = expression(forms, &mut choices.iter());
            let one = select.replace('X', &expression);
            // Rules that differ in literals are evaluated together.
            let other = select.replace('X', &with_other_literals(&expression));
            let both = format!("CREATE RULE one TO out AS {one}; CREATE RULE other TO out AS {other};");
            for script in [one, both] {
                // What is refused is refused when it is saved.
                match world.evaluate(&script) {
                    Ok(rows) => prop_assert!(!rows.contains("failed:"), "{script}: {rows}"),
                    Err(CaseError::Sql(_)) => {}
                    Err(CaseError::Wrong(reason)) => prop_assert!(false, "{script}: {reason}"),
                }
            }
        }
    }
}

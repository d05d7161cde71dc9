//! The statements of the MQTT specifications, and the tests that show them: `tests/conformance/*.toml`.
//!
//! [MQTT-x.y.z-n] is a statement of MQTT 3.1.1, [MQTT5-x.y.z-n] one of MQTT 5.0.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{
    metadata::root,
    sources::{none, rust_files, shown},
};

/// Each table, the beginning of its ids, and how many statements the specification has.
const TABLES: [(&str, &str, usize); 2] = [("mqtt-3.1.1", "MQTT-", 141), ("mqtt-5.0", "MQTT5-", 251)];

#[derive(Debug)]
struct Statement {
    id: String,
    demands: String,
    binds: String,
    /// `path/of/the/file.rs::name_of_the_test`
    tests: Vec<String>,
    /// Why there is no test.
    reason: Option<String>,
}

fn statements() -> Vec<Statement> {
    TABLES.iter().flat_map(|(name, ..)| table(name)).collect()
}

fn table(name: &str) -> Vec<Statement> {
    let path = root().join(format!("tests/conformance/{name}.toml"));
    let table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    let entries = table["statement"].as_array().unwrap().iter();
    let statements = entries.map(|entry| {
        let mut entry = entry.as_table().unwrap().clone();
        let mut text = |field: &str| match entry.remove(field) {
            Some(toml::Value::String(text)) => Some(text),
            None => None,
            Some(other) => panic!("{}: {field} = {other}", path.display()),
        };
        let [id, demands, binds] = ["id", "demands", "binds"].map(|field| text(field).unwrap_or_default());
        let reason = text("reason");
        let tests = entry.remove("tests").map_or(Vec::new(), |tests| tests.try_into().unwrap());
        assert!(entry.is_empty(), "{}: {id} has more fields: {entry}", path.display());
        Statement { id, demands, binds, tests, reason }
    });
    statements.collect()
}

/// A test's text: from the comments and attributes before `fn name(` to the end of its body. `None` if there is none.
fn test_text(source: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().collect();
    let declares = |line: &str| line.trim_start().trim_start_matches("async ").starts_with(&format!("fn {name}("));
    let declared = lines.iter().position(|line| declares(line))?;
    let is_head = |line: &&&str| ["//", "#["].iter().any(|mark| line.trim_start().starts_with(mark));
    let start = declared - lines[..declared].iter().rev().take_while(is_head).count();
    let is_test = |line: &&str| line.contains("test]") || line.contains("test(");
    lines[start..declared].iter().any(is_test).then_some(())?;
    let indented = lines[declared].len() - lines[declared].trim_start().len();
    let end = format!("{}}}", &lines[declared][..indented]);
    let length = lines[declared..].iter().position(|line| *line == end)?;
    Some(lines[start..=declared + length].join("\n"))
}

/// The ids in brackets that a text holds, without their brackets.
fn ids(text: &str) -> BTreeSet<String> {
    let begun = text.split('[').filter(|rest| TABLES.iter().any(|(_, prefix, _)| rest.starts_with(prefix)));
    begun
        .filter_map(|rest| rest.split_once(']'))
        .map(|(id, _)| id.to_owned())
        .filter(|id| !id.contains("x.y"))
        .collect()
}

#[test]
fn the_tables_are_whole() {
    for (name, prefix, count) in TABLES {
        let table = table(name);
        let ids: BTreeSet<&str> = table.iter().map(|statement| statement.id.as_str()).collect();
        assert_eq!((ids.len(), table.len()), (count, count), "{name}");
        none(table.iter().filter_map(|statement| {
            let Statement { id, demands, binds, .. } = statement;
            let is_told = id.starts_with(prefix) && !demands.is_empty();
            let is_known = ["server", "client", "both"].contains(&binds.as_str());
            (!is_told || !is_known).then(|| format!("{name}: {statement:?}"))
        }));
    }
}

#[test]
fn every_statement_has_a_test_or_a_reason() {
    none(statements().into_iter().filter_map(|statement| {
        let has_reason = statement.reason.as_ref().is_some_and(|reason| reason.len() > 2);
        (statement.tests.is_empty() && !has_reason)
            .then(|| format!("{} has neither a test nor a reason: {}", statement.id, statement.demands))
    }));
}

#[test]
fn the_tests_of_a_statement_exist_and_name_it() {
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    none(statements().into_iter().flat_map(|statement| {
        let faults = statement.tests.iter().filter_map(|test| {
            let (file, name) = test.split_once("::").unwrap_or((test, ""));
            let read = || fs::read_to_string(root().join(Path::new(file))).unwrap_or_default();
            let source = sources.entry(file.to_owned()).or_insert_with(read);
            match test_text(source, name) {
                None => Some(format!("{}: there is no test {test}", statement.id)),
                Some(text) => {
                    (!ids(&text).contains(&statement.id)).then(|| format!("{test} does not name [{}]", statement.id))
                }
            }
        });
        faults.collect::<Vec<_>>()
    }));
}

#[test]
fn every_id_in_the_sources_is_a_statements() {
    let known: BTreeSet<String> = statements().into_iter().map(|statement| statement.id).collect();
    none(rust_files().flat_map(|(path, text)| {
        let unknown: Vec<_> = ids(&text).into_iter().filter(|id| !known.contains(id)).collect();
        unknown.into_iter().map(|id| format!("{}: [{id}] is no statement", shown(&path))).collect::<Vec<_>>()
    }));
}

#[test]
fn texts_of_tests() {
    let source = "fn helper() {\n}\n\n// [MQTT-1.5.3-1]\n#[test]\nfn one() {\n    check(); // [MQTT5-1.5.4-1]\n}\n\n// [MQTT-2.2.2-1]\n";
    let text = test_text(source, "one").unwrap();
    assert_eq!(ids(&text).into_iter().collect::<Vec<_>>(), ["MQTT-1.5.3-1", "MQTT5-1.5.4-1"]);
    assert_eq!(test_text(source, "helper"), None);
    assert_eq!(test_text(source, "on"), None);
}

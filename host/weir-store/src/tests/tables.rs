//! Scans of tables, and the indexes that they go by.

use std::sync::Arc;

use weir_core::{
    path::{JsonPath, Step},
    shadow::Encoded,
    statement::IndexDefinition,
    table::{Condition, Field, Indexed, Scalar},
};

use super::*;
use crate::{INDEXES, ShadowRow, ShadowStep, ShadowTexts};

fn field(column: &str, keys: &[&str]) -> Field {
    let steps: Vec<Step> = keys.iter().map(|key| Step::Key((*key).into())).collect();
    Field { column: column.to_owned(), path: JsonPath(steps.into()) }
}

fn text(text: &str) -> Vec<Scalar> {
    vec![Scalar::Text(text.to_owned())]
}

fn differ() -> Condition {
    Condition::Differ(field("reported", &["fw"]), field("desired", &["fw"]))
}

/// Shadows of devices d0, d1, … with these halves, and a named one of the last.
async fn with_shadows(store: &Store, documents: &[(&str, &str)]) {
    with_product(store).await;
    let mut rows = Vec::new();
    for (number, (reported, desired)) in documents.iter().enumerate() {
        let id = device(&format!("d{number}"));
        store.create_device(&id, None, NOW).await.unwrap();
        let part = |text: &&str| (!text.is_empty()).then(|| (*text).to_owned());
        let document =
            Encoded { reported: part(reported), desired: part(desired), metadata: r#"{"reported":{}}"#.to_owned() };
        rows.push(ShadowRow { device: id, name: None, document, version: 1, changed_at: NOW });
    }
    let named = rows.last().cloned().map(|row| ShadowRow { name: Some("fw".parse().unwrap()), ..row });
    rows.extend(named);
    let step = ShadowStep { position: Offset::new(1, 1), shadows: rows, forgotten: Vec::new() };
    store.commit_shadows(Arc::new(step)).await.unwrap();
}

fn found(store: &Store, conditions: &[Condition]) -> Vec<String> {
    let mut names = Vec::new();
    store
        .scan_shadows(
            conditions,
            ShadowTexts::default(),
            || false,
            |row| {
                let dot = if row.name.is_empty() { "" } else { "." };
                names.push(format!("{}{dot}{}", row.device, row.name));
                true
            },
        )
        .unwrap();
    names.sort();
    names
}

async fn index(store: &Store, name: &str, indexed: Indexed) {
    let index = IndexDefinition { name: name.parse().unwrap(), text: format!("CREATE INDEX {name}"), indexed };
    store.put_index(index, NOW).await.unwrap();
}

const DOCUMENTS: [(&str, &str); 8] = [
    (r#"{"fw":"1.0","n":1}"#, r#"{"fw":"1.1"}"#),
    (r#"{"fw":"1.1","n":2.5}"#, r#"{"fw":"1.1"}"#),
    (r#"{"fw":1,"n":"x"}"#, r#"{"fw":true}"#),
    (r#"{"n":true}"#, r#"{"fw":"1.1"}"#),
    ("", r#"{"fw":"1.1"}"#),
    (r#"{"fw":18446744073709551616}"#, r#"{"fw":18446744073709551617}"#),
    (r#"{"fw":{"a":"ü","b'":1}}"#, r#"{"fw":{"a":"ü"}}"#),
    (r#"{"fw":null,"n":9007199254740993}"#, ""),
];

/// What no index changes.
fn check_conditions(store: &Store) {
    assert_eq!(found(store, &[]).len(), 9);
    // `true` is not 1, and numbers beyond every integer differ as they are written.
    assert_eq!(found(store, &[differ()]), ["d0", "d2", "d5", "d6"]);
    let fw = |values| Condition::In(field("reported", &["fw"]), values);
    assert_eq!(found(store, &[fw(text("1.1"))]), ["d1"]);
    assert_eq!(found(store, &[fw(vec![Scalar::Text("1.0".into()), Scalar::Text("1.1".into())])]), ["d0", "d1"]);
    assert_eq!(found(store, &[Condition::In(field("reported", &["fw", "a"]), text("ü"))]), ["d6"]);
    assert_eq!(found(store, &[Condition::In(field("reported", &["fw", "b'"]), vec![Scalar::Integer(1)])]), ["d6"]);
    let name = field("name", &[]);
    assert_eq!(found(store, &[Condition::Present(name.clone())]), ["d7.fw"]);
    assert_eq!(found(store, &[Condition::Absent(name), differ()]), ["d0", "d2", "d5", "d6"]);
    let of = |name: &str| Condition::In(field("device", &[]), text(name));
    assert_eq!(found(store, &[of("d7")]), ["d7", "d7.fw"]);
    // Where SQLite would count differently, more is given, never less.
    let n = || field("reported", &["n"]);
    for number in [1.0, 2.5, 9_007_199_254_740_992.0] {
        let equal = found(store, &[Condition::In(n(), vec![Scalar::Number(number)])]);
        assert!(!equal.is_empty() && equal.len() < 4, "{number}: {equal:?}");
    }
    assert!(found(store, &[Condition::Between(n(), Some(2.5), None)]).contains(&"d1".to_owned()));
    let huge = found(store, &[Condition::In(n(), vec![Scalar::Integer((1 << 53) + 1)])]);
    assert_eq!(huge.len(), 9, "left to the reader");
    assert_eq!(found(store, &[Condition::In(n(), text("a\0b"))]).len(), 9, "left to the reader");
}

#[tokio::test]
async fn rows_that_meet_conditions_are_found_with_and_without_an_index() {
    let (_folder, store) = fresh();
    with_shadows(&store, &DOCUMENTS).await;
    check_conditions(&store);
    index(&store, "fw", Indexed::Field(field("reported", &["fw"]))).await;
    index(&store, "n", Indexed::Field(field("reported", &["n"]))).await;
    index(&store, "outdated", Indexed::Differ(field("reported", &["fw"]), field("desired", &["fw"]))).await;
    check_conditions(&store);
    // They follow the documents, in the same transaction.
    let document = Encoded {
        reported: Some(r#"{"fw":"2.0"}"#.to_owned()),
        desired: Some(r#"{"fw":"2.0"}"#.to_owned()),
        metadata: "{}".to_owned(),
    };
    let row = ShadowRow { device: device("d0"), name: None, document, version: 2, changed_at: NOW };
    let step = ShadowStep { position: Offset::new(1, 2), shadows: vec![row], forgotten: Vec::new() };
    store.commit_shadows(Arc::new(step)).await.unwrap();
    assert_eq!(found(&store, &[differ()]), ["d2", "d5", "d6"]);
    assert_eq!(found(&store, &[Condition::In(field("reported", &["fw"]), text("2.0"))]), ["d0"]);
}

#[tokio::test]
async fn a_scan_goes_by_the_index_that_was_declared() {
    let (_folder, store) = fresh();
    with_shadows(&store, &DOCUMENTS).await;
    let product = Condition::In(field("product", &[]), text("A1B2C3D4E5"));
    let of_device = Condition::In(field("device", &[]), text("d1"));
    let fw = Condition::In(field("reported", &["fw"]), text("1.1"));
    let explained = |conditions: &[Condition]| store.explain_shadows(conditions).unwrap();
    assert_eq!(explained(&[differ()]), "SCAN shadows");
    index(&store, "outdated", Indexed::Differ(field("reported", &["fw"]), field("desired", &["fw"]))).await;
    index(&store, "fw", Indexed::Field(field("reported", &["fw"]))).await;
    assert_eq!(explained(&[differ()]), "SCAN shadows USING INDEX declared_outdated");
    assert_eq!(explained(&[product.clone(), differ()]), "SEARCH shadows USING INDEX declared_outdated (product=?)");
    assert_eq!(
        explained(&[product.clone(), fw.clone()]),
        "SEARCH shadows USING INDEX declared_fw (<expr>=? AND product=?)"
    );
    let range = Condition::Between(field("reported", &["fw"]), Some(1.0), None);
    assert_eq!(explained(&[range]), "SEARCH shadows USING INDEX declared_fw (<expr>>?)");
    // The rows of one device are found by its key.
    let by_key = "SEARCH shadows USING PRIMARY KEY (product=? AND device=?)";
    assert_eq!(explained(&[product, of_device]), by_key);
    assert_eq!(explained(&[Condition::Differ(field("desired", &["fw"]), field("reported", &["fw"]))]), "SCAN shadows");

    store.delete_index(&"outdated".parse().unwrap()).await.unwrap();
    assert_eq!(explained(&[differ()]), "SCAN shadows");
    assert_eq!(found(&store, &[differ()]), ["d0", "d2", "d5", "d6"]);
    let names: Vec<_> = store.indexes().await.unwrap().into_iter().map(|index| index.name.to_string()).collect();
    assert_eq!(names, ["fw"]);
    let error = store.delete_index(&"outdated".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no index \"outdated\"");
}

#[tokio::test]
async fn there_are_so_many_indexes_and_no_more() {
    let (_folder, store) = fresh();
    for number in 0..INDEXES {
        index(&store, &format!("i{number}"), Indexed::Field(field("reported", &["fw"]))).await;
    }
    let index = IndexDefinition {
        name: "one_more".parse().unwrap(),
        text: String::new(),
        indexed: Indexed::Field(field("desired", &["fw"])),
    };
    let error = store.put_index(index, NOW).await.unwrap_err();
    assert_eq!(error.to_string(), "the hub has 16 indexes, the most it may have: delete some first");
    assert_eq!(store.indexes().await.unwrap().len(), 16);
}

#[tokio::test]
async fn a_scan_that_nobody_wants_any_more_ends() {
    let (_folder, store) = fresh();
    let documents = vec![DOCUMENTS[0]; 2_000];
    with_shadows(&store, &documents).await;
    let mut rows = 0;
    store
        .scan_shadows(
            &[],
            ShadowTexts::default(),
            || false,
            |_| {
                rows += 1;
                rows < 3
            },
        )
        .unwrap();
    assert_eq!(rows, 3);
    // No row is found, and still it ends when it is told.
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let is_over = move || counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
    let nothing = Condition::In(field("reported", &["fw"]), text("none"));
    store.scan_shadows(&[nothing], ShadowTexts::default(), is_over, |_| panic!("there is none")).unwrap();
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2);
}

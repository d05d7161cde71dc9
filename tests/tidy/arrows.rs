//! Which crate of the workspace may use which: arrows point down only.

use super::metadata::METADATA;

/// Each crate, and those of the workspace that its code may name. A new crate gets its line here first.
const ARROWS: [(&str, &[&str]); 14] = [
    ("weir-core", &[]),
    ("weir-log", &["weir-core"]),
    ("weir-store", &["weir-core"]),
    ("weir-rules", &["weir-core"]),
    ("weir-targets", &["weir-core"]),
    ("weir-plugins", &["weir-core"]),
    ("weir-tls", &["weir-core"]),
    ("weir-lake", &["weir-core", "weir-log", "weir-rules"]),
    ("weir-broker", &["weir-core", "weir-log", "weir-store"]),
    ("weir-mqtt", &["weir-core", "weir-tls", "weir-broker"]),
    ("weir-coap", &["weir-core", "weir-tls", "weir-broker"]),
    ("weir-http", &["weir-core", "weir-broker"]),
    (
        "weir",
        &[
            "weir-core",
            "weir-log",
            "weir-store",
            "weir-rules",
            "weir-targets",
            "weir-plugins",
            "weir-tls",
            "weir-lake",
            "weir-broker",
            "weir-mqtt",
            "weir-coap",
            "weir-http",
        ],
    ),
    ("weir-tests", &[]),
];

/// Link time is the tax on every test, so the heavy engines stay behind these.
const HEAVY: [&str; 2] = ["datafusion", "wasmtime"];
const MAY_LINK_HEAVY: [&str; 4] = ["weir-rules", "weir-lake", "weir-plugins", "weir"];

#[test]
fn arrows_point_down() {
    for package in METADATA.workspace() {
        let allowed = ARROWS.iter().find(|(name, _)| *name == package.name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{} has no line in ARROWS", package.name));
        for dependency in package.dependencies.iter().filter(|d| !d.only_for_tests) {
            let on = &METADATA.packages[&dependency.on];
            let is_ours = METADATA.members.contains(&dependency.on);
            assert!(!is_ours || allowed.contains(&on.name.as_str()), "{} must not use {}", package.name, on.name);
        }
    }
}

#[test]
fn the_heavy_engines_stay_behind_their_fences() {
    for package in METADATA.workspace().filter(|package| !MAY_LINK_HEAVY.contains(&package.name.as_str())) {
        for reached in METADATA.reach(package, true) {
            let heavy = HEAVY.iter().any(|engine| reached.name.starts_with(engine));
            assert!(!heavy, "{} links {}, which only {MAY_LINK_HEAVY:?} may", package.name, reached.name);
        }
    }
}

#[test]
fn the_vocabulary_has_no_runtime_and_no_files() {
    let core = METADATA.workspace().find(|package| package.name == "weir-core").unwrap();
    for reached in METADATA.reach(core, false) {
        assert!(!["tokio", "mio", "rusqlite", "reqwest"].contains(&reached.name.as_str()), "{}", reached.name);
    }
}

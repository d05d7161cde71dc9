//! What may enter the dependency tree: `deny.toml`, read as cargo-deny reads it, so that nothing need be installed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    licence,
    metadata::{METADATA, Package, root},
};

fn deny() -> toml::Table {
    std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

/// The tables of a list under `[bans]`, each with its `crate` and the reason that it must have.
fn bans(list: &str) -> Vec<toml::Table> {
    let entries = deny()["bans"][list].as_array().unwrap().clone();
    let entries: Vec<_> = entries.into_iter().map(|entry| entry.as_table().unwrap().clone()).collect();
    for entry in &entries {
        assert!(entry["reason"].as_str().is_some_and(|reason| reason.len() > 2), "{list}: {entry} lacks a reason");
    }
    entries
}

/// Whether `spec`, a name or `name@version` with as many parts of the version as matter, means `package`.
fn means(spec: &toml::Value, package: &Package) -> bool {
    let spec = spec.as_str().unwrap();
    let (name, version) = spec.split_once('@').unwrap_or((spec, ""));
    let rest = package.version.strip_prefix(version);
    name == package.name && rest.is_some_and(|rest| version.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

#[test]
fn licences_are_allowed_ones() {
    let allowed: Vec<String> = deny()["licenses"]["allow"].clone().try_into().unwrap();
    for package in METADATA.packages.values() {
        let expression = package.licence.as_deref().unwrap_or_default();
        assert!(licence::permits(expression, &allowed), "{} {}: {expression:?}", package.name, package.version);
    }
}

#[test]
fn banned_packages_stay_out() {
    for ban in bans("deny") {
        let wrappers = ban.get("wrappers").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        for package in METADATA.packages.values() {
            for dependency in &package.dependencies {
                let banned = means(&ban["crate"], &METADATA.packages[&dependency.on]);
                let wrapped = wrappers.iter().any(|wrapper| means(wrapper, package));
                assert!(!banned || wrapped, "{} must not use {}: {}", package.name, ban["crate"], ban["reason"]);
            }
        }
    }
}

#[test]
fn one_version_of_each_package_but_for_reasoned_exceptions() {
    let mut excepted: BTreeSet<(&str, &str)> = BTreeSet::new();
    for skipped in bans("skip") {
        let found: Vec<_> = METADATA.packages.values().filter(|package| means(&skipped["crate"], package)).collect();
        let is_double = |package: &&Package| {
            METADATA.packages.values().any(|other| other.name == package.name && other.version != package.version)
        };
        assert!(found.iter().any(is_double), "deny.toml skips {}, which needs no exception", skipped["crate"]);
        excepted.extend(found.iter().map(|package| (package.name.as_str(), package.version.as_str())));
    }
    for skipped in bans("skip-tree") {
        for top in METADATA.packages.values().filter(|package| means(&skipped["crate"], package)) {
            let tree = METADATA.reach(top, false);
            excepted.extend(tree.iter().map(|package| (package.name.as_str(), package.version.as_str())));
        }
    }
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in METADATA.packages.values() {
        if !excepted.contains(&(package.name.as_str(), package.version.as_str())) {
            versions.entry(&package.name).or_default().insert(&package.version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "more than one version of {versions:?}: see [bans] in deny.toml");
}

#[test]
fn versions_are_named_and_sources_known() {
    let sources: BTreeSet<&str> = METADATA.packages.values().filter_map(|package| package.source.as_deref()).collect();
    let is_one_registry = sources.len() == 1 && sources.iter().all(|source| source.starts_with("registry+"));
    assert!(is_one_registry, "packages come from {sources:?}, not from one registry");
    for package in METADATA.workspace() {
        for requirement in package.requirements.iter().filter(|requirement| !requirement.is_path) {
            assert!(requirement.version != "*", "{} wants any version of {}", package.name, requirement.name);
        }
    }
}

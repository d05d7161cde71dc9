//! How files look: length, names, headings, and what must not stand in them.

use std::path::{Path, PathBuf};

use super::metadata::root;

const LONGEST: usize = 500;

/// A module that passes [`LONGEST`] says at its head why it is one piece.
const LENGTH_REASON: &str = "//! Length: ";

/// They say nothing about what a thing is. `Impl`, `Data` and `Info` are meant as endings of type names.
const EMPTY_WORDS: [&str; 8] = ["manager", "util", "utils", "helper", "helpers", "common", "misc", "stuff"];
const EMPTY_ENDINGS: [&str; 3] = ["Impl", "Data", "Info"];

/// Marks of what was not finished, or is not run. Written in halves, so that this file passes.
const UNFINISHED: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ig", "nore"), concat!("#[should", "_panic")];

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_symlink() || ["target", "data", ".git", "__pycache__"].contains(&name) {
                continue;
            }
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

pub(crate) fn rust_files() -> impl Iterator<Item = (PathBuf, String)> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap()))
}

pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// `RuleRuntime` and `rule_runtime` are the words rule and runtime.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter.is_uppercase() || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (letter.is_alphanumeric(), words.last_mut()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// The name that a line declares as a type, if it does.
fn declared_type(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    let keyword = words.next()?;
    let name = words.next()?.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    ["struct", "enum", "trait", "type"].contains(&keyword).then_some(name).filter(|name| !name.is_empty())
}

/// Every fault at once, so that one run tells all.
pub(crate) fn none(faults: impl Iterator<Item = String>) {
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_are_short_or_say_why_not() {
    none(rust_files().filter_map(|(path, text)| {
        let lines = text.lines().count();
        let says_why = text.lines().take_while(|line| line.starts_with("//!")).any(|l| l.starts_with(LENGTH_REASON));
        (lines > LONGEST && !says_why).then(|| format!("{} has {lines} lines: split it", shown(&path)))
    }));
}

#[test]
fn modules_begin_with_what_they_promise() {
    none(rust_files().filter_map(|(path, text)| {
        let promises = text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 8);
        // The names in a file of tests say what is promised.
        let is_tests = path.iter().any(|part| part == "tests.rs" || part == "tests");
        (!promises && !is_tests).then(|| format!("{} does not begin with //! and a sentence", shown(&path)))
    }));
}

#[test]
fn names_mean_something() {
    let is_empty_word = |name: &str| words(name).iter().any(|word| EMPTY_WORDS.contains(&word.as_str()));
    let is_empty_type = |name: &str| is_empty_word(name) || EMPTY_ENDINGS.iter().any(|ending| name.ends_with(ending));
    let names = files().into_iter().map(|path| shown(&path)).filter(|name| is_empty_word(name));
    none(names.map(|name| format!("{name}: find the noun")));
    none(rust_files().flat_map(|(path, text)| {
        let types: Vec<_> = text.lines().filter_map(declared_type).filter(|name| is_empty_type(name)).collect();
        types.into_iter().map(|name| format!("{}: {name}: find the noun", shown(&path))).collect::<Vec<_>>()
    }));
}

#[test]
fn nothing_of_a_machine_or_unfinished_is_left() {
    let mut forbidden: Vec<String> = UNFINISHED.iter().map(|mark| (*mark).to_owned()).collect();
    forbidden.push(format!("{}/", root().display()));
    forbidden.extend(std::env::var("HOME").map(|home| format!("{home}/")));
    none(files().into_iter().filter_map(|path| {
        let text = std::fs::read_to_string(&path).ok()?;
        let found = |line: &str| forbidden.iter().any(|mark| line.contains(mark));
        let (number, line) = text.lines().enumerate().find(|(_, line)| found(line))?;
        Some(format!("{}:{}: {line}", shown(&path), number + 1))
    }));
}

#[test]
fn every_package_inherits_the_lints() {
    for path in files().into_iter().filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml")) {
        let manifest: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        if manifest.contains_key("package") {
            let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
            assert_eq!(lints, Some(&toml::Value::Boolean(true)), "{}: [lints] workspace = true", shown(&path));
        }
    }
}

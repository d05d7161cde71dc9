//! Runs `tests/rules/*.slt`: messages and statements in, rows or the exact text of an error out.
//!
//! `SLT_ACCEPT=1` writes what came out into the files, to be read before it is kept. The format is described in
//! `tests/rules/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these in tests, but takes only the functions marked #[test] for tests here"
)]

mod random;
mod table;
mod windows;
mod world;

use std::{fmt::Write as _, fs, path::Path};

use self::world::World;

#[test]
fn every_case_gives_what_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/rules");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());

    let accept = std::env::var_os("SLT_ACCEPT").is_some();
    let mut failures = String::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let outcome = run(&text);
        if accept && outcome.text != text {
            fs::write(&file, &outcome.text).unwrap();
        }
        for failure in outcome.failures {
            writeln!(failures, "{}:{failure}", file.file_name().unwrap().display()).unwrap();
        }
    }
    assert!(accept || failures.is_empty(), "\n{failures}");
}

struct Outcome {
    /// The file with what came out.
    text: String,
    failures: Vec<String>,
}

fn run(text: &str) -> Outcome {
    let mut world = World::default();
    let mut outcome = Outcome { text: String::new(), failures: Vec::new() };
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        writeln!(outcome.text, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut body = Vec::new();
        let mut expected = Vec::new();
        let mut checked = false;
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
            match (checked, line) {
                (false, "----") => checked = true,
                (false, line) => body.push(line),
                (true, line) => expected.push(line),
            }
        }
        for line in &body {
            writeln!(outcome.text, "{line}").unwrap();
        }
        let expected = expected.join("\n");
        if let Some(actual) = world.block(line, &body.join("\n")) {
            writeln!(outcome.text, "----\n{actual}").unwrap();
            if actual != expected {
                let body = body.join("\n");
                let number = number + 1;
                outcome.failures.push(format!("{number}: {body}\n--- expected\n{expected}\n--- found\n{actual}\n"));
            }
        }
    }
    outcome
}

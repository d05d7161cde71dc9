//! Runs `tests/rules/*.slt` and those of the examples as `weir test` would. `SLT_ACCEPT=1` writes what came out into the files, to be read before it
//! is kept.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these in tests, but takes only the functions marked #[test] for tests here"
)]

mod random;

use std::{fmt::Write as _, fs, path::Path};

use weir_rules::cases;

#[test]
fn every_case_gives_what_its_file_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = vec![root.join("tests/rules")];
    folders.extend(fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path()));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty(), "no cases in {folders:?}");

    let accept = std::env::var_os("SLT_ACCEPT").is_some();
    let mut failures = String::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let include =
            |name: &str| fs::read_to_string(file.with_file_name(name)).map_err(|error| format!("{name}: {error}"));
        let name = file.file_name().unwrap().display();
        let outcome = cases::run(&text, &include).unwrap_or_else(|error| panic!("{name}: {error}"));
        if accept && outcome.text != text {
            fs::write(&file, &outcome.text).unwrap();
        }
        for cases::Failure { line, body, expected, found } in outcome.failures {
            writeln!(failures, "{name}:{line}: {body}\n--- expected\n{expected}\n--- found\n{found}\n").unwrap();
        }
    }
    assert!(accept || failures.is_empty(), "\n{failures}");
}

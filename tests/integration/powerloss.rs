//! The storage that forgets is itself tested: what was synced stays, everything else is as it was before.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::harness::{powerloss::Powerloss, root};

/// Runs a step of `tests/powerloss/exercise.py`, which kills itself at its end, and takes the power away.
fn exercise(powerloss: &Powerloss, folder: &Path, step: &str) -> usize {
    let mut python = Command::new("python3");
    python.arg(root().join("tests/powerloss/exercise.py")).arg(folder).arg(step);
    powerloss.preload(&mut python, folder);
    let output = python.output().expect("python3 is not installed: `make test` does that");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    powerloss.rewind(folder)
}

fn content(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.path().is_file());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap())).collect()
}

fn expected(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn unsynced_changes_are_forgotten_and_synced_ones_are_not() {
    let (powerloss, folder) = (Powerloss::build(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    assert_eq!(exercise(&powerloss, folder, "prepare"), 0);
    assert_eq!(content(folder).len(), 7);

    exercise(&powerloss, folder, "change");
    let mut files = expected(&[
        ("appended", "stable appended kept"),
        ("cut", "stable cut"),
        ("moved", "stable moved"),
        ("overwritten", "STABLE overwritten"),
        ("removed", "stable removed"),
        ("replaced", "stable replaced"),
        ("truncated", "stable truncated"),
    ]);
    assert_eq!(content(folder), files);

    exercise(&powerloss, folder, "settle");
    files.remove("removed");
    files.remove("moved");
    files.extend(expected(&[("created", "and now it was"), ("moved-away", "stable moved")]));
    assert_eq!(content(folder), files);
    assert!(fs::read_dir(folder.join("folder")).unwrap().next().is_none());
}

#[test]
fn a_database_keeps_what_it_synced() {
    let (powerloss, folder) = (Powerloss::build(), tempfile::tempdir().unwrap());
    assert!(exercise(&powerloss, folder.path(), "database") > 1_000);
    let mut python = Command::new("python3");
    let python = python.arg(root().join("tests/powerloss/exercise.py")).arg(folder.path()).arg("look");
    assert_eq!(String::from_utf8_lossy(&python.output().unwrap().stdout), "kept\n");
}

//! `weir test`: runs files of cases for rules, without a hub.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use weir_rules::cases::{self, Outcome};

use super::{failure::Failure, output::Output};

/// What a file of cases ends with.
const EXTENSION: &str = "slt";

/// How deep folders are looked into: deeper than any that a person would make, and short of a loop of links.
const MAX_DEPTH: usize = 16;

/// A case file has messages in it, and statements with the rows that they must give:
///
///     messages
///     A1B2C3D4E5/d/event {"temp": 31}
///
///     rows
///     SELECT temp * 9 / 5 + 32 AS fahrenheit FROM 'A1B2C3D4E5/+/event'
///     ----
///     {"fahrenheit":87.8}
///
/// `rules overheat.sql` in place of a statement, then `rows` alone, runs the rules of that file.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Files of cases, and folders with such (*.slt)
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,
    /// Write what came out into the files; read it before you keep it
    #[arg(long)]
    accept: bool,
}

pub(crate) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, MAX_DEPTH, &mut files).map_err(|error| Failure::usage(unreadable(path, &error)))?;
    }
    if files.is_empty() {
        return Err(Failure::usage(format!("no *.{EXTENSION} file in {}", shown(&args.paths))));
    }
    let mut report = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        let outcome = outcome(file, args.accept);
        let failures = outcome.as_ref().map_or(1, |outcome| outcome.failures.len());
        failed += failures;
        passed += outcome.as_ref().map_or(0, |outcome| outcome.cases - failures);
        if out.is_json() {
            report.push(as_json(file, outcome));
        } else {
            out.line(&as_text(file, outcome, args.accept))?;
        }
    }
    if out.is_json() {
        out.json(&json!({"passed": passed, "failed": failed, "files": report}))?;
    } else {
        out.line(&format!("{} files, {passed} passed, {failed} {}", files.len(), word(args.accept)))?;
    }
    match failed {
        0 => Ok(()),
        _ if args.accept => Ok(()),
        _ => Err(Failure::refused(format!("{failed} failed"))),
    }
}

/// The files below `path` in the order of their names. A file that is named is taken whatever it is called.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for entry in entries {
        let is_cases = entry.extension().is_some_and(|extension| extension == EXTENSION);
        if is_cases || (depth > 0 && entry.is_dir()) {
            collect(&entry, depth.saturating_sub(1), files)?;
        }
    }
    Ok(())
}

/// Runs a file. What it includes is looked for beside it.
fn outcome(file: &Path, accept: bool) -> Result<Outcome, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let include = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))
    };
    let outcome = cases::run(&text, &include).map_err(|error| error.to_string())?;
    if accept && outcome.text != text {
        fs::write(file, &outcome.text).map_err(|error| error.to_string())?;
    }
    Ok(outcome)
}

fn as_text(file: &Path, outcome: Result<Outcome, String>, accept: bool) -> String {
    let file = file.display();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(reason) => return format!("{file}: {reason}"),
    };
    let mut text = String::new();
    for cases::Failure { line, body, expected, found } in &outcome.failures {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{file}:{line} {}", word(accept));
        for line in body.lines() {
            let _written = writeln!(text, "    {line}");
        }
        text.push_str(&difference(expected, found));
    }
    match outcome.failures.len() {
        0 => format!("{file}: {} passed", outcome.cases),
        _ => text.trim_end().to_owned(),
    }
}

/// Line by line: what was expected and did not come behind `-`, what came instead behind `+`.
fn difference(expected: &str, found: &str) -> String {
    let mut text = String::new();
    // Lines with and without an end would differ.
    let [expected, found] = [expected, found].map(|text| format!("{text}\n"));
    for change in TextDiff::from_lines(&expected, &found).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        let _written = writeln!(text, "  {sign} {}", change.value().trim_end_matches('\n'));
    }
    text
}

fn as_json(file: &Path, outcome: Result<Outcome, String>) -> Value {
    let file = file.display().to_string();
    match outcome {
        Ok(outcome) => {
            let failure = |failure: &cases::Failure| json!({"line": failure.line, "body": failure.body, "expected": failure.expected, "found": failure.found});
            let failures: Vec<_> = outcome.failures.iter().map(failure).collect();
            json!({"file": file, "cases": outcome.cases, "failures": failures})
        }
        Err(reason) => json!({"file": file, "error": reason}),
    }
}

fn word(accept: bool) -> &'static str {
    if accept { "written" } else { "failed" }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    const CASES: &str = "messages\nA1B2C3D4E5/d/event {\"temp\": 31}\nat=+30s A1B2C3D4E5/d/event {\"temp\": 29}\n\n\
                         rules hot.sql\n\nrows\n----\nout: {\"temp\":31,\"at\":\"2026-01-31T12:00:00Z\"}\n";
    const RULES: &str =
        "CREATE RULE hot TO out AS\nSELECT temp, msg.time AS at FROM 'A1B2C3D4E5/+/event' WHERE temp > 30;\n";

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        fs::write(folder.path().join("rules/hot.slt"), CASES).unwrap();
        fs::write(folder.path().join("rules/hot.sql"), RULES).unwrap();
        folder
    }

    fn test(path: &Path, accept: bool) -> Result<(), Failure> {
        run(&Args { paths: vec![path.to_owned()], accept }, Output { format: Format::Json })
    }

    #[test]
    fn the_rules_of_a_file_are_tested() {
        let folder = folder();
        test(folder.path(), false).unwrap();
        let changed = RULES.replace("> 30", "> 20");
        fs::write(folder.path().join("rules/hot.sql"), changed).unwrap();
        assert_eq!(test(folder.path(), false).unwrap_err().message(), "1 failed");

        let file = folder.path().join("rules/hot.slt");
        let text = as_text(Path::new("hot.slt"), outcome(&file, false), false);
        let expected = "hot.slt:7 failed\n    \
                        out: {\"temp\":31,\"at\":\"2026-01-31T12:00:00Z\"}\n  \
                        + out: {\"temp\":29,\"at\":\"2026-01-31T12:00:30Z\"}";
        assert_eq!(text, expected);

        test(folder.path(), true).unwrap();
        test(folder.path(), false).unwrap();
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let folder = folder();
        for (text, reason) in [
            (
                "row\nx\n",
                "line 1: there is no block \"row\"; one begins with messages, table, schema, rules, rows, error or query",
            ),
            (
                "\nmessages\nat=noon a/b {}\n",
                "line 2: at=noon: write a time (2026-01-31T12:00:00Z), or how much later than the last (+30s)",
            ),
            ("messages\nqos=3 a/b {}\n", "line 1: \"qos=3 a/b {}\": qos is 0, 1 or 2"),
        ] {
            let file = folder.path().join("x.slt");
            fs::write(&file, text).unwrap();
            assert_eq!(outcome(&file, true).unwrap_err(), reason);
        }
        fs::remove_dir_all(folder.path().join("rules")).unwrap();
        fs::remove_file(folder.path().join("x.slt")).unwrap();
        assert!(matches!(test(folder.path(), false), Err(Failure::Usage(_))));
    }
}

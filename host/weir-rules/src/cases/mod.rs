//! Rules as tests: files that hold messages, statements, and what must come out. `weir test` runs them for rule authors,
//! and this crate's own tests are such files.
//!
//! A file is blocks, separated by empty lines. A line that begins with `#` between blocks is a comment. A block begins
//! with a word that says what it is; what must come out stands behind `----`:
//!
//! | Block | Then | Behind `----` |
//! |---|---|---|
//! | `messages` | a message per line: `[at=TIME] [qos=1] [retain] TOPIC PAYLOAD`; they replace those before | |
//! | `schema PRODUCT` | the fields that a product declares, one `name type` per line | |
//! | `rules FILE` | nothing: the rules are those of the file | |
//! | `rows` | a SELECT, a script with rules, or nothing for those of `rules FILE` | a line per row, `target: ` in front and settings behind if it is a script; then counted mismatches and failed messages |
//! | `error` | a script | the text that its author reads |
//! | `query` | a SELECT for `weir query` | its plan, or the error |
//!
//! Time is the messages': the first was accepted at 2026-01-31 12:00:00 UTC, each other a second after the one before it,
//! unless it says `at=2026-01-31T18:00:00Z` or `at=+30s`.

mod world;

use std::fmt::Write as _;

pub use self::world::{CaseError, Message, World, messages};

/// What became of a file.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The file with what came out.
    pub text: String,
    /// Blocks that expect something.
    pub cases: usize,
    pub failures: Vec<Failure>,
}

/// A block that gave something else than its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of the block's first line, from 1.
    pub line: usize,
    /// The statement, as it stands in the file.
    pub body: String,
    pub expected: String,
    pub found: String,
}

/// A file that is no such file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadFile {
    /// Of the block's first line, from 1.
    pub line: usize,
    pub reason: String,
}

/// Runs the blocks of a file. `include` gives the text of a file that a block names.
pub fn run(text: &str, include: &dyn Fn(&str) -> Result<String, String>) -> Result<Outcome, BadFile> {
    let mut world = World::default();
    let mut outcome = Outcome::default();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, head)) = lines.next() {
        push_line(&mut outcome.text, head);
        if head.is_empty() || head.starts_with('#') {
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
            push_line(&mut outcome.text, line);
        }
        let (body, expected, line) = (body.join("\n"), expected.join("\n"), number + 1);
        let Some(found) = world.block(head, &body, include).map_err(|reason| BadFile { line, reason })? else {
            continue;
        };
        outcome.cases += 1;
        push_line(&mut outcome.text, "----");
        push_line(&mut outcome.text, &found);
        if found != expected {
            outcome.failures.push(Failure { line, body, expected, found });
        }
    }
    Ok(outcome)
}

fn push_line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _written = writeln!(text, "{line}");
}

//! sqlparser's errors, as a rule author reads them.

use sqlparser::{
    parser::ParserError,
    tokenizer::{Location, TokenizerError},
};
use weir_core::seams::SqlError;

use crate::error::{Hint, Source, nearest};

/// The words of a SELECT that are misspelt most.
const KEYWORDS: [&str; 26] = [
    "SELECT", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL", "CASE", "WHEN", "THEN",
    "ELSE", "END", "CAST", "GROUP", "BY", "HAVING", "ORDER", "LIMIT", "DISTINCT", "TRUE", "FALSE",
];

pub(crate) fn tokenizer_error(source: &Source<'_>, error: &TokenizerError) -> SqlError {
    let message = match error.message.as_str() {
        "Unterminated string literal" => "a text in quotes has no end",
        message if message.starts_with("Expected close delimiter") => "a name in double quotes has no end",
        message if message.contains("comment") => "a comment has no end",
        _ => "a character that means nothing here",
    };
    source.error(error.location, message)
}

/// `end` is the place behind the text that was parsed.
pub(crate) fn parser_error(source: &Source<'_>, error: &ParserError, end: Location) -> SqlError {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return source.error(end, "the statement is nested too deep").hint("split it, or use IN (…)");
        }
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
    };
    let (text, place) = split_place(text);
    let place = place.unwrap_or(end);
    let parts = text.strip_prefix("Expected").and_then(|text| text.split_once(", found: "));
    let Some((expected, found)) = parts else { return source.error(place, lower_first(text)) };
    let expected = expected.trim_start_matches([':', ' ']);
    let ends = expected == "end of statement";
    let expected = match expected {
        "end of statement" => "the end of the statement",
        "identifier" => "a name",
        other => other,
    };
    if found == "EOF" {
        return source.error(place, format!("expected {expected}, but the text ends"));
    }
    let error = source.error(place, format!("expected {expected}, found {found}"));
    match found {
        "FROM" if expected == "an expression" => error.hint("is there a comma too many in front of FROM?"),
        _ => match nearest(found, KEYWORDS).filter(|word| found.len() > 2 && !word.eq_ignore_ascii_case(found)) {
            Some(near) => error.hint_nearest(Some(near)),
            None if ends && found.starts_with(|c: char| c.is_alphanumeric() || c == '\'') => {
                error.hint("is there a comma or an operator too few in front of it?")
            }
            None => error,
        },
    }
}

/// sqlparser tells the place of an error at the end of its text only: ` at Line: 3, Column: 7`.
fn split_place(text: &str) -> (&str, Option<Location>) {
    let parse = || {
        let (message, place) = text.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some((message, Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? }))
    };
    match parse() {
        Some((message, place)) if place.line > 0 => (message, Some(place)),
        Some((message, _)) => (message, None),
        None => (text, None),
    }
}

fn lower_first(text: &str) -> String {
    let text = text.strip_prefix("sql parser error: ").unwrap_or(text).trim_end_matches('.');
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

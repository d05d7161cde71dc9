//! Errors in what somebody wrote: where, and what to write instead.

use std::fmt;

use crate::{Classify, ErrorKind};

/// An error in a text that somebody wrote, with the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// Lower case, no full stop.
    pub message: String,
    /// Line and column in the submitted text, from 1.
    pub position: Option<(u64, u64)>,
    /// The line itself, to draw the caret under.
    pub line: Option<String>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl SqlError {
    /// An error in `text`, placed in the `script` that holds `text`.
    #[must_use]
    pub fn within(mut self, script: &str, text: &str) -> Self {
        let (Some(start), Some((line, column))) = (script.find(text), self.position) else { return self };
        let before = script.get(..start).unwrap_or_default();
        let first = before.split('\n').count() as u64;
        let indent = before.rsplit('\n').next().unwrap_or_default().chars().count() as u64;
        let number = first + line - 1;
        self.position = Some((number, if line == 1 { indent + column } else { column }));
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        self.line = script.split('\n').nth(index).map(|line| line.trim_end_matches('\r').to_owned());
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.message)?,
            None => f.write_str(&self.message)?,
        }
        if let (Some(line), Some((number, column))) = (&self.line, self.position) {
            let width = number.to_string().len();
            let indent = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
            write!(f, "\n  {number} | {line}\n  {:width$} | {:indent$}^", "", "")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}

impl Classify for SqlError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_with_its_place() {
        let error = SqlError {
            message: "there is no function uper".to_owned(),
            position: Some((12, 8)),
            line: Some("SELECT uper(name)".to_owned()),
            hint: Some("did you mean upper?".to_owned()),
        };
        let text = "line 12, column 8: there is no function uper
  12 | SELECT uper(name)
     |        ^
  hint: did you mean upper?";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_place_in_a_statement_becomes_one_in_its_script() {
        let statement = "CREATE RULE r\nAS SELECT";
        let script = format!("-- one\n/* é */ {statement};");
        let at = |position| {
            let error = SqlError { message: String::new(), position, line: None, hint: None };
            let error = error.within(&script, statement);
            (error.position, error.line)
        };
        assert_eq!(at(Some((1, 8))), (Some((2, 16)), Some("/* é */ CREATE RULE r".to_owned())));
        assert_eq!(at(Some((2, 4))), (Some((3, 4)), Some("AS SELECT;".to_owned())));
        assert_eq!(at(None), (None, None));
    }
}

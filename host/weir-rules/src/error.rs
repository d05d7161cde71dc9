//! Errors that point into a text somebody wrote, and what to write instead.
//!
//! Everything that reads SQL reports through [`Source::error`]; no error of sqlparser or DataFusion reaches a user with
//! its own wording unless it was written for users.

use sqlparser::tokenizer::Location;
use weir_core::seams::SqlError;

/// The text that is being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    /// The text is a setting that came from elsewhere: places in it mean nothing to who wrote the rule, so that errors
    /// name the setting instead.
    pub(crate) setting: Option<&'a str>,
}

impl<'a> Source<'a> {
    pub(crate) fn script(text: &'a str) -> Self {
        Self { text, setting: None }
    }

    pub(crate) fn setting(name: &'a str, text: &'a str) -> Self {
        Self { text, setting: Some(name) }
    }

    /// An error at `place`; line 0 stands for a place that is not known.
    pub(crate) fn error(&self, place: Location, message: impl Into<String>) -> SqlError {
        let message = message.into();
        if let Some(name) = self.setting {
            return SqlError {
                message: format!("setting {name} = '{}': {message}", self.text),
                position: None,
                line: None,
                hint: None,
            };
        }
        let number = usize::try_from(place.line).unwrap_or(0);
        let Some(line) = number.checked_sub(1).and_then(|index| self.text.split('\n').nth(index)) else {
            return SqlError { message, position: None, line: None, hint: None };
        };
        let line = line.trim_end_matches('\r').to_owned();
        SqlError { message, position: Some((place.line, place.column)), line: Some(line), hint: None }
    }

    /// The byte at which `place` is; the end of the text if it is behind it.
    pub(crate) fn byte(&self, place: Location) -> usize {
        let mut start = 0;
        for _ in 1..place.line {
            match self.text.get(start..).and_then(|rest| rest.find('\n')) {
                Some(length) => start += length + 1,
                None => return self.text.len(),
            }
        }
        let columns = usize::try_from(place.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let rest = self.text.get(start..).unwrap_or_default();
        rest.char_indices().nth(columns).map_or(self.text.len(), |(offset, _)| start + offset)
    }

    /// The place behind the last character.
    pub(crate) fn end(&self) -> Location {
        let line = self.text.split('\n').count();
        let column = self.text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Location { line: line as u64, column: column as u64 }
    }
}

/// Adds what to write instead.
pub(crate) trait Hint {
    fn hint(self, hint: impl Into<String>) -> Self;
    fn hint_nearest(self, nearest: Option<&str>) -> Self;
}

impl Hint for SqlError {
    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn hint_nearest(self, nearest: Option<&str>) -> Self {
        match nearest {
            Some(nearest) => self.hint(format!("did you mean {nearest}?")),
            None => self,
        }
    }
}

/// The candidate that `word` was probably meant to be, the first of several. Case does not count.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(64).collect();
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase().chars().take(64).collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits that turn one word into the other; a swap of neighbours is one.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: usize, column: usize| rows.get(row).and_then(|row| row.get(column)).copied();
            let deleted = at(i, j + 1).unwrap_or(0) + 1;
            let inserted = row.get(j).copied().unwrap_or(0) + 1;
            let replaced = at(i, j).unwrap_or(0) + usize::from(x != y);
            let mut best = deleted.min(inserted).min(replaced);
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(at(i - 1, j - 1).unwrap_or(0) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_distant_one_is_not() {
        let words = ["FROM", "WHERE", "upper", "lower"];
        assert_eq!(nearest("FORM", words), Some("FROM"));
        assert_eq!(nearest("uper", words), Some("upper"));
        assert_eq!(nearest("WHER", words), Some("WHERE"));
        assert_eq!(nearest("temperature", words), None);
    }

    #[test]
    fn places_are_counted_in_characters() {
        let source = Source::script("é x\nzweite");
        assert_eq!(source.byte(Location { line: 1, column: 3 }), 3);
        assert_eq!(source.byte(Location { line: 2, column: 1 }), 5);
        assert_eq!(source.byte(source.end()), source.text.len());
        let error = source.error(Location { line: 2, column: 3 }, "wrong");
        assert_eq!(error.to_string(), "line 2, column 3: wrong\n  2 | zweite\n    |   ^");
    }
}

//! What became of rows.

use std::time::Duration;

use crate::http;

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is safe at the other side.
    Delivered,
    /// It is wrong, and always will be.
    Rejected(String),
    /// It is wrong for now: it is tried again a few times.
    Refused(String),
    /// The other side is wrong: everything waits, this row first.
    Unavailable {
        /// Why.
        reason: String,
        /// How long the other side asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// The other side cannot be reached, or does not want to now.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: None }
    }
}

/// What an answer by HTTP says of the row that was sent: 2xx is delivered; 408, 429 and 5xx are the server's trouble,
/// as is no answer at all; any other status is the row's.
impl From<Result<http::Response, http::Error>> for Outcome {
    fn from(answer: Result<http::Response, http::Error>) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(http::Error::Invalid(reason)) => return Self::Rejected(reason),
            Err(error @ http::Error::Denied(_)) => return Self::Refused(error.to_string()),
            Err(error) => return Self::unavailable(error.to_string()),
        };
        let said = answer.excerpt();
        let reason = match said.is_empty() {
            true => format!("the server answered {}", answer.status),
            false => format!("the server answered {}: {said}", answer.status),
        };
        match answer.status {
            200..=299 => Self::Delivered,
            408 | 429 | 500.. => {
                let seconds = answer.header("retry-after").and_then(|value| value.trim().parse().ok());
                Self::Unavailable { reason, retry_after: seconds.map(Duration::from_secs) }
            }
            _ => Self::Refused(reason),
        }
    }
}

/// The rows of a batch that were not delivered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdicts(pub(crate) Vec<(u32, Outcome)>);

impl Verdicts {
    /// Everything was delivered.
    pub fn delivered() -> Self {
        Self::default()
    }

    /// The same for all rows.
    pub fn all(rows: usize, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Delivered => Self::default(),
            outcome => Self((0..rows).map(|row| (row as u32, outcome.clone())).collect()),
        }
    }

    /// Says what became of a row.
    pub fn say(&mut self, row: usize, outcome: Outcome) {
        if outcome != Outcome::Delivered {
            self.0.push((row as u32, outcome));
        }
    }

    /// What was said of a row.
    pub fn of(&self, row: usize) -> Outcome {
        let said = self.0.iter().rev().find(|(number, _)| *number as usize == row);
        said.map_or(Outcome::Delivered, |(_, outcome)| outcome.clone())
    }
}

//! An answer of documents that one after the other tell of work, the last one perhaps of its failure.

use reqwest::Response;
use serde_json::Value;

use super::{failure::Failure, lines::Lines};

pub(crate) struct Documents(Lines);

impl Documents {
    pub(crate) fn new(response: Response) -> Self {
        Self(Lines::new(response.bytes_stream()))
    }

    /// The next document, unless it tells of an error. `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Failure> {
        let Some(line) = self.0.next().await? else { return Ok(None) };
        let document: Value =
            serde_json::from_slice(&line).map_err(|_| Failure::refused("the hub does not answer as a hub does"))?;
        let Some(error) = document.get("error") else { return Ok(Some(document)) };
        let field = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        Err(Failure::Refused { kind: field("kind"), message: field("message").unwrap_or_default(), hint: None })
    }
}

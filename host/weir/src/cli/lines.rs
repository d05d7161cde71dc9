//! An answer that comes line by line, one JSON document each.

use reqwest::Response;
use serde_json::Value;

use super::failure::Failure;

/// Bytes of one line. The hub writes lines of a few megabytes at the most.
const MAX_LINE: usize = 1 << 30;

#[derive(Debug)]
pub(crate) struct Lines {
    response: Response,
    read: Vec<u8>,
    /// Bytes of `read` that are known to hold no end of a line.
    searched: usize,
}

impl Lines {
    pub(crate) fn new(response: Response) -> Self {
        Self { response, read: Vec::new(), searched: 0 }
    }

    /// The next document, unless it tells of an error. `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            let unsearched = self.read.get(self.searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=self.searched + end).collect();
                self.searched = 0;
                return document(&line).map(Some);
            }
            self.searched = self.read.len();
            if self.read.len() > MAX_LINE {
                return Err(Failure::refused("the hub answers with a line that has no end"));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.read.extend_from_slice(&chunk),
                Ok(None) if self.read.is_empty() => return Ok(None),
                Ok(None) | Err(_) => return Err(Failure::refused("the hub broke off its answer")),
            }
        }
    }
}

fn document(line: &[u8]) -> Result<Value, Failure> {
    let document: Value =
        serde_json::from_slice(line).map_err(|_| Failure::refused("the hub does not answer as a hub does"))?;
    let Some(error) = document.get("error") else { return Ok(document) };
    let field = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    Err(Failure::Refused { kind: field("kind"), message: field("message").unwrap_or_default(), hint: None })
}

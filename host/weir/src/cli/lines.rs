//! An answer of the hub that goes on: a JSON document per line.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};

use super::failure::Failure;

/// Bytes of one line: a payload of the largest size, escaped, and what is around it.
const MAX_LINE: usize = 64 * 1024 * 1024;

pub(crate) struct Lines {
    chunks: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    /// What was read, of which `taken` bytes were given out.
    pending: Vec<u8>,
    taken: usize,
}

impl Lines {
    pub(super) fn new(chunks: impl Stream<Item = Result<Bytes, reqwest::Error>> + Send + 'static) -> Self {
        Self { chunks: chunks.boxed(), pending: Vec::new(), taken: 0 }
    }

    /// The next line without its end; `None` when the hub ends the answer. Empty lines keep idle connections open, and
    /// are passed over.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let rest = self.pending.get(self.taken..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.get(..end).unwrap_or_default().to_vec();
                self.taken += end + 1;
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            self.pending.drain(..self.taken);
            self.taken = 0;
            if self.pending.len() > MAX_LINE {
                return Err(Failure::refused("the hub sent a line that does not end"));
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.pending.extend_from_slice(&chunk),
                Some(Err(error)) => return Err(Failure::refused(format!("the hub ended the stream: {error}"))),
                None => return Ok(None),
            }
        }
    }
}

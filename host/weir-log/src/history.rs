//! The log as history: what is durable, for queries.

use std::{collections::VecDeque, sync::Arc};

use arrow::array::RecordBatch;
use weir_core::{
    Offset,
    seams::{History, HistoryError},
};

use crate::{Frame, Log, ReadError, disk::Cursor, shared::Shared};

impl History for Log {
    fn scan(&self, from: Offset, to: Offset) -> Box<dyn Iterator<Item = Result<RecordBatch, HistoryError>> + Send> {
        let shared = Arc::clone(self.shared());
        let position = from.max(self.oldest());
        let to = to.min(self.end());
        Box::new(Scan { shared, position, to, cursor: None, fetched: VecDeque::new() })
    }

    fn oldest(&self) -> Offset {
        Self::oldest(self)
    }

    fn end(&self) -> Offset {
        self.shared().durable.get().offset
    }
}

/// Frames from `position` up to `to`. Blocks on the storage.
struct Scan {
    shared: Arc<Shared>,
    position: Offset,
    to: Offset,
    cursor: Option<Cursor>,
    fetched: VecDeque<Arc<Frame>>,
}

impl Scan {
    fn next_frame(&mut self) -> Result<Option<Arc<Frame>>, ReadError> {
        if self.fetched.is_empty() && self.position < self.to {
            let in_memory = self.shared.tail.lock().find(self.position);
            self.fetched = match in_memory {
                Some(frame) => VecDeque::from([frame]),
                None => self.shared.source().read(&mut self.cursor, self.position, self.to)?.into(),
            };
        }
        Ok(self.fetched.pop_front().filter(|frame| frame.first < self.to))
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = match self.next_frame() {
            Ok(frame) => frame?,
            Err(error) => {
                // There is no way past an error, and it is told once.
                (self.position, self.fetched) = (self.to, VecDeque::new());
                return Some(Err(HistoryError(error.to_string())));
            }
        };
        let (first, end) = (frame.first.max(self.position), frame.next.min(self.to));
        self.position = frame.next;
        let rows = |from: Offset, to: Offset| usize::try_from(to.0 - from.0).unwrap_or(usize::MAX);
        Some(Ok(frame.batch.slice(rows(frame.first, first), rows(first, end))))
    }
}

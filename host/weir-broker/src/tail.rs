//! Following messages as they are accepted, for operators and programs: no session, no inbox, no acknowledgement.

use std::sync::Arc;

use weir_core::TopicFilter;
use weir_log::{Frame, ReadError, Reader};

use crate::shadow::Reading;

/// A cursor over the log that shows the messages of one filter.
#[derive(Debug)]
pub struct Tail {
    reader: Reader,
    filter: TopicFilter,
    /// Changes of shadows are told as long as somebody reads of them.
    _reading: Option<Reading>,
}

impl Tail {
    pub(crate) fn new(reader: Reader, filter: TopicFilter, reading: Option<Reading>) -> Self {
        Self { reader, filter, _reading: reading }
    }

    /// The next frame that holds messages of the filter, when it is durable, and which rows they are.
    pub async fn next(&mut self) -> Result<(Arc<Frame>, Vec<u32>), ReadError> {
        loop {
            let frame = self.reader.next_durable().await?;
            let records = &frame.records;
            let rows: Vec<u32> = (0..records.len())
                .filter(|row| records.is_message(*row) && self.filter.matches(records.topic.value(*row)))
                .filter_map(|row| u32::try_from(row).ok())
                .collect();
            if !rows.is_empty() {
                return Ok((frame, rows));
            }
        }
    }
}

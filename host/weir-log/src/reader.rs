//! Readers: frames in offset order, from memory at the head and from the disk behind it.

use std::{collections::VecDeque, sync::Arc};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};
use weir_core::Offset;

use crate::{Frame, ReadError, disk::Cursor, shared::Shared, watermark::Mark};

/// Reads a log from a position on. Its calls are cancel-safe: a frame is passed over only when it was returned.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    position: Offset,
    appended: watch::Receiver<Mark>,
    durable: watch::Receiver<Mark>,
    /// Frames read from the disk and not yet returned.
    fetched: VecDeque<Arc<Frame>>,
    /// Where on the disk reading goes on.
    cursor: Option<Cursor>,
    /// A read from the disk under way. It is kept when a call is cancelled.
    fetching: Option<JoinHandle<Fetched>>,
}

type Fetched = (Result<Vec<Arc<Frame>>, ReadError>, Option<Cursor>);

#[derive(Clone, Copy)]
enum Level {
    Appended,
    Durable,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from: Offset) -> Self {
        let position = from.max(shared.segments.lock().oldest());
        Self {
            appended: shared.appended.subscribe(),
            durable: shared.durable.subscribe(),
            shared,
            position,
            fetched: VecDeque::new(),
            cursor: None,
            fetching: None,
        }
    }

    /// One past the last record returned; where reading started, if none was.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// The next frame, as soon as it is written. Its first record is the first at or after [`Reader::position`].
    pub async fn next(&mut self) -> Result<Arc<Frame>, ReadError> {
        self.read(Level::Appended).await
    }

    /// The next frame, as soon as it is durable.
    pub async fn next_durable(&mut self) -> Result<Arc<Frame>, ReadError> {
        self.read(Level::Durable).await
    }

    async fn read(&mut self, level: Level) -> Result<Arc<Frame>, ReadError> {
        loop {
            let marks = match level {
                Level::Appended => &mut self.appended,
                Level::Durable => &mut self.durable,
            };
            let mark = *marks.borrow_and_update();
            if let Some(frame) = self.fetched.pop_front_if(|frame| frame.next <= mark.offset) {
                return self.pass(frame);
            }
            if self.fetched.is_empty() && self.position < mark.offset {
                if let Some(frame) = self.find_in_tail() {
                    return self.pass(frame);
                }
                self.fetch(mark.offset).await?;
                continue;
            }
            if mark.stop.is_some() {
                return Err(ReadError::Stopped);
            }
            marks.changed().await.map_err(|_| ReadError::Stopped)?;
        }
    }

    fn find_in_tail(&mut self) -> Option<Arc<Frame>> {
        let frame = self.shared.tail.lock().find(self.position)?;
        // What was being read from the disk is behind by now.
        (self.cursor, self.fetching) = (None, None);
        Some(frame)
    }

    /// Moves past a frame and returns what of it is at or after the old position.
    fn pass(&mut self, frame: Arc<Frame>) -> Result<Arc<Frame>, ReadError> {
        let from = std::mem::replace(&mut self.position, frame.next);
        if frame.first >= from {
            return Ok(frame);
        }
        frame
            .starting_at(from)
            .map(Arc::new)
            .map_err(|error| ReadError::Io { segment: "in memory".to_owned(), reason: error.to_string() })
    }

    /// Reads frames below `limit` from the disk.
    async fn fetch(&mut self, limit: Offset) -> Result<(), ReadError> {
        let fetching = match &mut self.fetching {
            Some(fetching) => fetching,
            None => {
                let (shared, position, mut cursor) = (Arc::clone(&self.shared), self.position, self.cursor.take());
                self.fetching.insert(spawn_blocking(move || {
                    let frames = shared.source().read(&mut cursor, position, limit);
                    (frames, cursor)
                }))
            }
        };
        let fetched = fetching.await;
        self.fetching = None;
        let (frames, cursor) = fetched.map_err(|_| ReadError::Stopped)?;
        self.cursor = cursor;
        match frames {
            Ok(frames) => {
                self.fetched = frames.into();
                Ok(())
            }
            Err(error) => {
                if let ReadError::Overtaken { oldest, .. } = error {
                    self.position = self.position.max(oldest);
                }
                Err(error)
            }
        }
    }
}

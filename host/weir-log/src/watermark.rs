//! Watermarks: up to where the log has come, and a way to wait until it has come further.

use tokio::sync::watch;
use weir_core::Offset;

use crate::LogFailed;

/// Why nothing will follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Closed,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// One past the last record that has come so far.
    pub(crate) offset: Offset,
    pub(crate) stop: Option<Stop>,
}

/// The writer's end of a watermark.
#[derive(Debug)]
pub(crate) struct Watermark(watch::Sender<Mark>);

impl Watermark {
    pub(crate) fn new(offset: Offset) -> Self {
        Self(watch::Sender::new(Mark { offset, stop: None }))
    }

    pub(crate) fn get(&self) -> Mark {
        *self.0.borrow()
    }

    pub(crate) fn raise(&self, offset: Offset) {
        self.0.send_if_modified(|mark| {
            let raised = mark.offset < offset;
            mark.offset = mark.offset.max(offset);
            raised
        });
    }

    pub(crate) fn stop(&self, stop: Stop) {
        self.0.send_modify(|mark| mark.stop = mark.stop.or(Some(stop)));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Mark> {
        self.0.subscribe()
    }
}

/// Up to where the log is durable: a higher offset implies that every lower one is durable too, and stays so whatever
/// happens.
#[derive(Debug, Clone)]
pub struct Durable {
    marks: watch::Receiver<Mark>,
    /// What [`Durable::changed`] returned last.
    seen: Offset,
}

impl Durable {
    pub(crate) fn new(watermark: &Watermark) -> Self {
        Self { marks: watermark.subscribe(), seen: watermark.get().offset }
    }

    /// One past the last durable record.
    pub fn get(&self) -> Offset {
        self.marks.borrow().offset
    }

    /// Waits until the record at `offset` is durable. Cancel-safe.
    pub async fn wait_for(&self, offset: Offset) -> Result<(), LogFailed> {
        if self.get() > offset {
            return Ok(());
        }
        let mut marks = self.marks.clone();
        let reached = marks.wait_for(|mark| mark.offset > offset || mark.stop.is_some()).await;
        if reached.is_ok_and(|mark| mark.offset > offset) { Ok(()) } else { Err(LogFailed) }
    }

    /// Waits until the watermark stands elsewhere than when this handle was made or this method last returned, and
    /// says where. Cancel-safe.
    pub async fn changed(&mut self) -> Result<Offset, LogFailed> {
        loop {
            let mark = *self.marks.borrow_and_update();
            if mark.offset != self.seen {
                self.seen = mark.offset;
                return Ok(mark.offset);
            }
            if mark.stop.is_some() {
                return Err(LogFailed);
            }
            self.marks.changed().await.map_err(|_| LogFailed)?;
        }
    }
}

//! A connection as its session's other parts see it: something to wake, and to close.

use std::sync::OnceLock;

use tokio::sync::Notify;

use crate::session::CloseReason;

#[derive(Debug)]
pub(crate) struct Line {
    /// No other connection to this log ever has it.
    pub(crate) id: u64,
    closed: OnceLock<CloseReason>,
    notify: Notify,
}

impl Line {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, closed: OnceLock::new(), notify: Notify::new() }
    }

    /// The first reason stands.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.closed.get_or_init(|| reason);
        self.wake();
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.closed.get().copied()
    }

    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }

    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
    }
}

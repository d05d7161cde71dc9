//! A connection as its session's other parts see it: something to wake, and to close.

use std::sync::OnceLock;

use tokio::sync::{Notify, Semaphore};

use crate::session::CloseReason;

#[derive(Debug)]
pub(crate) struct Line {
    /// No other connection to this log ever has it.
    pub(crate) id: u64,
    closed: OnceLock<CloseReason>,
    notify: Notify,
    /// Opened when the connection has let go of its session.
    released: Semaphore,
}

impl Line {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, closed: OnceLock::new(), notify: Notify::new(), released: Semaphore::new(0) }
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

    /// The connection has nothing more to do with its session.
    pub(crate) fn release(&self) {
        self.released.close();
    }

    pub(crate) async fn released(&self) {
        // A closed semaphore refuses everybody.
        let _refused = self.released.acquire().await;
    }

    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
    }
}

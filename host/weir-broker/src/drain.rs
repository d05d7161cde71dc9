//! Ending in order: every task is named, told to end, and waited for.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tells tasks to end and waits for them. Each stage of shutdown has its own.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the stage must end.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs a task that is waited for at the end. A task that panics is logged and harms no other.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Combinators, not an async block: that would hold the future twice, and there is one for each connection.
        let guarded = AssertUnwindSafe(task).catch_unwind().map(move |outcome| {
            if outcome.is_err() {
                tracing::error!(task = name, "a task of the hub panicked");
            }
        });
        #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
        tokio::spawn(self.tasks.track_future(guarded));
    }

    /// Tells every task to end and waits at most `timeout`; says whether all have ended.
    pub async fn run_down(&self, timeout: Duration) -> bool {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(timeout, self.tasks.wait()).await.is_ok()
    }
}

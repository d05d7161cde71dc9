//! Storing documents beside the task that changes them, which never waits for the store while there is room.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use weir_core::{DeviceId, Offset};
use weir_log::Log;
use weir_store::{ShadowRow, ShadowStep, Store, StoreError};

use super::{cache::Changed, state::ShadowState};

/// How long to wait before a step that the store refused is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A step to be stored.
pub(super) struct Work {
    pub(super) number: u64,
    pub(super) position: Offset,
    /// The last of the answers to what is below the position.
    pub(super) after: Option<Offset>,
    pub(super) shadows: Vec<Changed>,
    pub(super) forgotten: Vec<DeviceId>,
}

pub(super) struct Saver {
    pub(super) store: Store,
    pub(super) log: Log,
    pub(super) state: Arc<ShadowState>,
    pub(super) works: mpsc::Receiver<Work>,
    pub(super) saves: mpsc::Sender<u64>,
}

impl Saver {
    /// Runs until the task has ended and everything is stored.
    pub(super) async fn run(mut self) {
        while let Some(work) = self.works.recv().await {
            let number = work.number;
            if !self.save(work).await {
                return;
            }
            if self.saves.send(number).await.is_err() {
                // The task has ended; what it left to be stored comes still.
                continue;
            }
        }
    }

    /// A step is what changed since the one before, so it is tried until it is stored. Says whether it is.
    async fn save(&self, work: Work) -> bool {
        let Work { position, after, shadows, forgotten, .. } = work;
        let rows = shadows.into_iter().map(|(device, name, document)| ShadowRow {
            device,
            name,
            document: document.encode(),
            version: document.version(),
            changed_at: document.changed_at(),
        });
        let step = Arc::new(ShadowStep { position, shadows: rows.collect(), forgotten });
        // Otherwise a crash now would lose answers: their requests would not be applied again.
        if let Some(after) = after
            && self.log.durable().wait_for(after).await.is_err()
        {
            return false;
        }
        while let Err(error) = self.store.commit_shadows(Arc::clone(&step)).await {
            tracing::error!(%error, "shadows cannot be stored; it is tried again");
            if matches!(error, StoreError::Closed) {
                return false;
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.state.set_saved(position);
        true
    }
}

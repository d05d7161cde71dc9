//! Storing what Delivery knows, beside it: Delivery never waits for the store.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use weir_core::Offset;
use weir_log::Log;
use weir_store::{DeliveryStep, DoneMarks, KeptRow, Store};

use super::{state::DeliveryState, upkeep::Stored};
use crate::message::KeptMessage;

/// How long to wait before a step that the store refused is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A message in the log that an inbox needs.
#[derive(Debug)]
pub(super) struct Need {
    pub(super) offset: Offset,
    pub(super) owner: Arc<str>,
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) enum Work {
    Step(Box<DeliveryStep>),
    /// How far sessions and shared queues have come.
    Done(DoneMarks, DoneMarks),
    /// To be copied out of the log, in its order. Answered with what is in the store then.
    Copy(Vec<Need>, oneshot::Sender<Stored>),
}

pub(super) struct Saver {
    pub(super) store: Store,
    pub(super) log: Log,
    pub(super) state: Arc<DeliveryState>,
    pub(super) works: mpsc::Receiver<Work>,
}

impl Saver {
    /// Runs until Delivery has ended and everything is stored.
    pub(super) async fn run(mut self) {
        while let Some(work) = self.works.recv().await {
            match work {
                Work::Step(step) => self.store_step(*step).await,
                Work::Done(sessions, shared_queues) => {
                    if let Err(error) = self.store.commit_done(sessions, shared_queues).await {
                        tracing::warn!(%error, "the progress of sessions cannot be stored; a crash now repeats more");
                    }
                }
                Work::Copy(needs, answer) => match self.copy(needs).await {
                    Ok(stored) => answer.send(stored).unwrap_or_default(),
                    Err(error) => tracing::error!(%error, "messages of inboxes cannot be copied out of the log"),
                },
            }
        }
    }

    /// A step is what changed since the one before, so it is tried until it is stored.
    async fn store_step(&self, step: DeliveryStep) {
        let position = step.position;
        // Nothing stored names an offset above the durable watermark.
        if position > Offset::ZERO && self.log.durable().wait_for(Offset(position.0 - 1)).await.is_err() {
            return;
        }
        while let Err(error) = self.store.commit_delivery(step.clone()).await {
            tracing::error!(%error, "sessions cannot be stored; it is tried again");
            if matches!(error, weir_store::StoreError::Closed) {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.state.set_saved(position);
    }

    async fn copy(&self, needs: Vec<Need>) -> Result<Stored, String> {
        let mut needs = needs.into_iter().peekable();
        let Some(first) = needs.peek().map(|need| need.offset) else { return Ok(Stored::new()) };
        let mut reader = self.log.reader(first);
        let (mut rows, mut stored) = (Vec::new(), Stored::new());
        while needs.peek().is_some() {
            let frame = reader.next_durable().await.map_err(|error| error.to_string())?;
            while let Some(need) = needs.next_if(|need| need.offset < frame.next) {
                let row = need.offset.0.checked_sub(frame.first.0).and_then(|row| usize::try_from(row).ok());
                let Some(message) = row.and_then(|row| KeptMessage::of_row(&frame.records, row)) else { continue };
                let owner = need.owner.to_string();
                stored.entry(owner.clone()).or_default().insert(need.number);
                rows.push(KeptRow { owner, number: need.number, message: message.encode() });
            }
        }
        self.store.keep_messages(rows).await.map_err(|error| error.to_string())?;
        Ok(stored)
    }
}

//! Clock ticks: records in the log by which windows learn that time goes on where no message says so.
//!
//! They are in the log so that windows come out the same whenever they are read. One serves all rules, and none is appended
//! unless a window would close by it.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;
use weir_core::{Offset, Timestamp, schema::Kind};
use weir_log::Record;

use super::action::Shared;
use crate::Drain;

/// How often it is looked whether a window waits for a tick.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) struct Ticker {
    shared: Arc<Shared>,
    /// The tick that was appended last.
    last: Option<Offset>,
}

impl Ticker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, last: None }
    }

    pub(crate) async fn run(mut self, drain: Drain) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = drain.token().cancelled() => return,
                _ = look.tick() => {}
            }
            if self.is_needed() {
                let tick = Record::Control { kind: Kind::Tick, session: None, topic: "", payload: b"" };
                match self.shared.log.append_reserved(&[tick]).await {
                    Ok(offset) => self.last = Some(offset),
                    Err(error) => tracing::warn!(%error, "windows wait for the time, which cannot be told"),
                }
            }
        }
    }

    /// Whether a window would close that has seen the last tick.
    fn is_needed(&self) -> bool {
        let Timestamp(now) = self.shared.clock.now();
        let table = self.shared.table.load();
        let mut windows = table.rules.values().filter_map(|rule| rule.windows.as_ref());
        windows.any(|windows| {
            let (position, due) = windows.waits();
            due.is_some_and(|Timestamp(due)| due <= now) && self.last.is_none_or(|last| last < position)
        })
    }
}

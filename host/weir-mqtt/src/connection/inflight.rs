//! Packet identifiers of messages that the client has not acknowledged.

use std::collections::VecDeque;

/// Room that is kept when nothing is in flight; more is given back.
const KEPT: usize = 32;

/// In the order they were taken, which is the order in which most clients acknowledge; they may in any.
#[derive(Debug, Default)]
pub(super) struct Inflight {
    pub(super) last: u16,
    pub(super) used: VecDeque<u16>,
}

impl Inflight {
    /// An identifier that is not in use, never 0; `None` if all are.
    pub(super) fn take(&mut self) -> Option<u16> {
        let next = self.last.checked_add(1).unwrap_or(1);
        let id = if self.used.contains(&next) { self.free_after(next)? } else { next };
        self.last = id;
        self.used.push_back(id);
        Some(id)
    }

    /// The slow way, for clients that leave old identifiers unacknowledged while newer ones go round.
    fn free_after(&self, start: u16) -> Option<u16> {
        let mut taken = vec![false; usize::from(u16::MAX) + 1];
        for id in &self.used {
            if let Some(taken) = taken.get_mut(usize::from(*id)) {
                *taken = true;
            }
        }
        (start..=u16::MAX).chain(1..start).find(|id| taken.get(usize::from(*id)) == Some(&false))
    }

    /// Says whether it was in use. An identifier that is not in use is ignored: the message it names has been
    /// acknowledged before.
    pub(super) fn release(&mut self, id: u16) -> bool {
        let Some(place) = self.used.iter().position(|used| *used == id) else { return false };
        self.used.remove(place);
        if self.used.is_empty() {
            self.used.shrink_to(KEPT);
        }
        true
    }
}

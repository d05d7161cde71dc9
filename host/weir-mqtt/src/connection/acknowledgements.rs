//! Answers that wait until what they answer is durable, in the order of what they answer.

use std::collections::VecDeque;

use weir_core::Offset;

use crate::{codec::write::Confirmation, codes::Reason};

/// Room that is kept when nothing waits; more is given back.
const KEPT: usize = 32;

/// A PUBACK, PUBREC, PUBREL or PUBCOMP to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) confirmation: Confirmation,
    pub(super) packet_id: u16,
    pub(super) reason: Reason,
}

#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    /// With each the offset that everything durable must have reached; 0 if it waits for its turn alone.
    waiting: VecDeque<(Offset, Answer)>,
}

impl Acknowledgements {
    /// Waits for the record at `offset`, if there is one, and for those before.
    pub(super) fn push(&mut self, offset: Option<Offset>, answer: Answer) {
        self.waiting.push_back((offset.map_or(Offset::ZERO, |offset| offset.plus(1)), answer));
    }

    /// Lets go of those whose record lies below `durable`, up to the first whose does not.
    pub(super) fn release(&mut self, durable: Offset, mut send: impl FnMut(Answer)) {
        if self.waiting.is_empty() {
            return;
        }
        while let Some((_, answer)) = self.waiting.pop_front_if(|(end, _)| *end <= durable) {
            send(answer);
        }
        if self.waiting.is_empty() {
            self.waiting.shrink_to(KEPT);
        }
    }

    /// The record that the first waits for.
    pub(super) fn first(&self) -> Option<Offset> {
        self.waiting.front().map(|(end, _)| Offset(end.0.saturating_sub(1)))
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

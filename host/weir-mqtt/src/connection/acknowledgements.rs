//! PUBACKs that wait until what they acknowledge is durable, in the order of the PUBLISHes.

use std::collections::VecDeque;

use weir_core::Offset;

/// Room that is kept when nothing waits; more is given back.
const KEPT: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    waiting: VecDeque<(Offset, u16)>,
}

impl Acknowledgements {
    pub(super) fn push(&mut self, offset: Offset, packet_id: u16) {
        self.waiting.push_back((offset, packet_id));
    }

    /// Lets go of those whose record lies below `durable`.
    pub(super) fn release(&mut self, durable: Offset, mut acknowledge: impl FnMut(u16)) {
        if self.waiting.is_empty() {
            return;
        }
        while let Some((_, packet_id)) = self.waiting.pop_front_if(|(offset, _)| *offset < durable) {
            acknowledge(packet_id);
        }
        if self.waiting.is_empty() {
            self.waiting.shrink_to(KEPT);
        }
    }

    pub(super) fn first(&self) -> Option<Offset> {
        self.waiting.front().map(|(offset, _)| *offset)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

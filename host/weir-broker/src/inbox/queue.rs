//! Messages that wait, in order: places in the log, not payloads.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use weir_core::{Offset, Qos};
use weir_log::Frame;

use crate::message::KeptMessage;

/// Room that is kept when nothing waits; more is given back.
const KEPT_ROOM: usize = 8;

/// Where a message is to be found.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Log(Offset),
    /// In memory, shared with whoever else has it: a retained message.
    Held(Arc<KeptMessage>),
    /// In the store, under its owner and number.
    Stored,
}

/// A message that waits for one session, or for the members of a shared subscription.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) place: Place,
    /// Its number among the owner's messages at QoS 1 and 2; at QoS 0 that of the next one.
    pub(crate) number: u64,
    pub(crate) identifiers: Option<Arc<Vec<u32>>>,
    /// Bytes of topic and payload.
    pub(crate) size: u32,
    pub(crate) qos: Qos,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
}

impl Row {
    pub(crate) fn is_confirmed(&self) -> bool {
        self.qos > Qos::AtMostOnce
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    rows: VecDeque<Row>,
    bytes: u64,
    /// The frames of rows that were pushed lately: first and next offset, while somebody else keeps them in memory.
    frames: VecDeque<(Offset, Offset, Weak<Frame>)>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn front(&self) -> Option<&Row> {
        self.rows.front()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.bytes += u64::from(row.size);
        self.rows.push_back(row);
    }

    /// Remembers where rows that were pushed now can be found without reading the log again.
    pub(crate) fn note(&mut self, frame: &Arc<Frame>) {
        // The log lets go of the oldest first.
        while self.frames.pop_front_if(|(_, _, frame)| frame.strong_count() == 0).is_some() {}
        self.frames.push_back((frame.first, frame.next, Arc::downgrade(frame)));
    }

    pub(crate) fn pop(&mut self) -> Option<Row> {
        let row = self.rows.pop_front()?;
        self.bytes -= u64::from(row.size);
        if self.rows.is_empty() {
            self.frames.clear();
            self.rows.shrink_to(KEPT_ROOM);
            self.frames.shrink_to(KEPT_ROOM);
        }
        Some(row)
    }

    /// Puts a row back where its number says.
    pub(crate) fn put_back(&mut self, row: Row) {
        let at = self.rows.iter().take_while(|waiting| waiting.number < row.number).count();
        self.bytes += u64::from(row.size);
        self.rows.insert(at, row);
    }

    /// From now on, what waits at QoS 1 and 2 may have been sent before.
    pub(crate) fn may_have_been_sent(&mut self) {
        self.rows.iter_mut().filter(|row| row.is_confirmed()).for_each(|row| row.dup = true);
    }

    /// Takes out the row at QoS 1 or 2 of this number, if it is there.
    pub(crate) fn take(&mut self, number: u64) -> Option<Row> {
        let from = self.rows.partition_point(|row| row.number < number);
        let at = self.rows.range(from..).position(Row::is_confirmed)? + from;
        if self.rows.get(at)?.number != number {
            return None;
        }
        let row = self.rows.remove(at)?;
        self.bytes -= u64::from(row.size);
        Some(row)
    }

    /// The frame that holds `offset`, which is that of the first row, if it is still in memory.
    pub(crate) fn frame_of(&mut self, offset: Offset) -> Option<Arc<Frame>> {
        while self.frames.pop_front_if(|(_, next, _)| *next <= offset).is_some() {}
        let (first, _, frame) = self.frames.front()?;
        if *first <= offset { frame.upgrade() } else { None }
    }

    /// Keeps the rows that `wanted` wants, and says how many went.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&Row) -> bool) -> u64 {
        let before = self.rows.len();
        self.rows.retain(wanted);
        self.bytes = self.rows.iter().map(|row| u64::from(row.size)).sum();
        (before - self.rows.len()) as u64
    }

    /// Rows in the log below `horizon` are in the store from now on.
    pub(crate) fn are_stored(&mut self, stored: impl Fn(u64) -> bool) {
        for row in &mut self.rows {
            if matches!(row.place, Place::Log(_)) && row.is_confirmed() && stored(row.number) {
                row.place = Place::Stored;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(rows: &[(u64, Qos)]) -> Queue {
        let mut queue = Queue::default();
        for (number, qos) in rows {
            let place = Place::Log(Offset(100 + number));
            queue.push(Row {
                place,
                number: *number,
                identifiers: None,
                size: 10,
                qos: *qos,
                dup: false,
                retain: false,
            });
        }
        queue
    }

    fn numbers(queue: &Queue) -> Vec<(u64, Qos)> {
        queue.rows().map(|row| (row.number, row.qos)).collect()
    }

    #[test]
    fn a_number_that_is_not_there_takes_no_other_with_it() {
        let rows = [(3, Qos::AtLeastOnce), (5, Qos::AtMostOnce), (5, Qos::ExactlyOnce), (6, Qos::ExactlyOnce)];
        let mut queue = queue(&rows);
        for absent in [0, 2, 4, 7] {
            assert!(queue.take(absent).is_none());
        }
        assert_eq!((numbers(&queue), queue.bytes()), (rows.to_vec(), 40));
        assert_eq!(
            queue.take(5).map(|row| row.qos),
            Some(Qos::ExactlyOnce),
            "the one at QoS 0 has no number of its own"
        );
        assert_eq!(queue.bytes(), 30);
    }

    #[test]
    fn what_comes_back_comes_before_what_was_later() {
        let mut queue = queue(&[(3, Qos::AtLeastOnce), (4, Qos::AtMostOnce), (4, Qos::AtLeastOnce)]);
        let first = queue.pop().unwrap();
        queue.pop().unwrap();
        let second = queue.pop().unwrap();
        assert!(queue.pop().is_none());
        queue.put_back(second);
        queue.put_back(first);
        assert_eq!(numbers(&queue), [(3, Qos::AtLeastOnce), (4, Qos::AtLeastOnce)]);
        assert_eq!(queue.retain(|row| row.number == 4), 1);
        assert_eq!(queue.bytes(), 10);
    }
}

//! Requests that came before, so that one that is sent again is not done again (RFC 7252 §4.5).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// EXCHANGE_LIFETIME with the default parameters (RFC 7252 §4.8.2).
const LIFETIME: Duration = Duration::from_secs(247);

/// Requests of one peer that are remembered. One sends its next when the last is answered, so duplicates are of the newest.
const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Received(VecDeque<Request>);

#[derive(Debug)]
struct Request {
    id: u16,
    at: Instant,
    reply: Option<Box<[u8]>>,
}

pub(super) enum Seen {
    New,
    /// With what it was answered, if it was.
    Before(Option<Vec<u8>>),
}

impl Received {
    pub(super) fn see(&mut self, id: u16, now: Instant) -> Seen {
        self.forget(now);
        if let Some(known) = self.0.iter().rev().find(|known| known.id == id) {
            return Seen::Before(known.reply.as_deref().map(<[u8]>::to_vec));
        }
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Request { id, at: now, reply: None });
        Seen::New
    }

    pub(super) fn replied(&mut self, id: u16, reply: &[u8]) {
        if let Some(known) = self.0.iter_mut().rev().find(|known| known.id == id) {
            known.reply = Some(reply.into());
        }
    }

    pub(super) fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|oldest| now.saturating_duration_since(oldest.at) > LIFETIME) {
            self.0.pop_front();
        }
    }
}

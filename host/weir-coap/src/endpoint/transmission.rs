//! Messages of the hub that must be acknowledged, sent again until they are (RFC 7252 §4.2).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::ObservationId;

/// MAX_RETRANSMIT (RFC 7252 §4.8).
const RETRANSMISSIONS: u32 = 4;

/// Messages that wait for an acknowledgement. Beyond it the oldest is sent no more.
const WAITING: usize = 32;

/// Notifications that need no acknowledgement, remembered because a client may reject one (RFC 7641 §3.6).
const UNCONFIRMED: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Response,
    Notification(ObservationId),
    Ping,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) what: What,
    /// It holds the first block of more.
    pub(super) in_blocks: bool,
}

#[derive(Debug)]
struct Sent {
    id: u16,
    bytes: Box<[u8]>,
    about: Answered,
    due: Instant,
    wait: Duration,
    left: u32,
}

#[derive(Debug)]
pub(super) struct Transmissions {
    sent: Vec<Sent>,
    unconfirmed: VecDeque<(u16, ObservationId)>,
    last_id: u16,
    wait: Duration,
    random: u64,
}

impl Transmissions {
    pub(super) fn new(seed: u64, wait: Duration) -> Self {
        // Any number but 0 will do.
        Self { sent: Vec::new(), unconfirmed: VecDeque::new(), last_id: seed as u16, wait, random: seed | 1 }
    }

    pub(super) fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    pub(super) fn send(&mut self, id: u16, bytes: Vec<u8>, about: Answered, now: Instant) {
        if self.sent.len() >= WAITING {
            self.sent.remove(0);
        }
        // ACK_RANDOM_FACTOR: up to half as much again.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let wait = self.wait + self.wait.mul_f64((self.random % 1_000) as f64 / 2_000.0);
        self.sent.push(Sent { id, bytes: bytes.into(), about, due: now + wait, wait, left: RETRANSMISSIONS });
    }

    pub(super) fn sent_unconfirmed(&mut self, id: u16, observation: ObservationId) {
        if self.unconfirmed.len() >= UNCONFIRMED {
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.push_back((id, observation));
    }

    pub(super) fn answered(&mut self, id: u16) -> Option<Answered> {
        let index = self.sent.iter().position(|sent| sent.id == id)?;
        Some(self.sent.remove(index).about)
    }

    /// What was rejected, and whether it waited for an acknowledgement.
    pub(super) fn reset(&mut self, id: u16) -> Option<(What, bool)> {
        if let Some(answered) = self.answered(id) {
            return Some((answered.what, true));
        }
        let index = self.unconfirmed.iter().position(|(other, _)| *other == id)?;
        let (_, observation) = self.unconfirmed.remove(index)?;
        Some((What::Notification(observation), false))
    }

    /// Sends again what is due, and names what was given up.
    pub(super) fn elapsed(&mut self, now: Instant, out: &mut VecDeque<Vec<u8>>) -> Vec<What> {
        let mut given_up = Vec::new();
        self.sent.retain_mut(|sent| {
            if sent.due > now {
                return true;
            }
            if sent.left == 0 {
                given_up.push(sent.about.what);
                return false;
            }
            sent.left -= 1;
            sent.wait *= 2;
            sent.due = now + sent.wait;
            out.push_back(sent.bytes.to_vec());
            true
        });
        given_up
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.sent.iter().map(|sent| sent.due).min()
    }

    pub(super) fn is_pinging(&self) -> bool {
        self.sent.iter().any(|sent| sent.about.what == What::Ping)
    }

    /// Sends nothing of an observation again. Says whether something of it waited for its acknowledgement.
    pub(super) fn forget(&mut self, observation: ObservationId) -> bool {
        let before = self.sent.len();
        self.sent.retain(|sent| sent.about.what != What::Notification(observation));
        self.unconfirmed.retain(|(_, other)| *other != observation);
        self.sent.len() < before
    }
}

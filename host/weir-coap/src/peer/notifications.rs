//! What is published for a device, on its way to the observations that it has.

use std::collections::VecDeque;

use bytes::Bytes;
use weir_broker::Outbound;
use weir_core::{Qos, SubscriptionFilter};

use super::Peer;
use crate::{
    codec::option,
    codes::Code,
    endpoint::{ObservationId, Response},
    request::content_format,
};

/// A subscription, and the observations for which it is held: a client may observe one topic by several tokens.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) filter: SubscriptionFilter,
    /// The session says by it for which subscriptions a message is.
    pub(super) identifier: u32,
    pub(super) observations: Vec<ObservationId>,
}

/// Messages that the session has handed out. Each goes to the observations one after the other, and is acknowledged when
/// the last has it.
#[derive(Debug)]
pub(super) struct Outgoing {
    outbound: Outbound,
    row: usize,
    /// Observations that the row is still for; `None`: the row was not looked at.
    left: Option<VecDeque<ObservationId>>,
}

impl Outgoing {
    pub(super) fn new(outbound: Outbound) -> Self {
        Self { outbound, row: 0, left: None }
    }
}

impl Peer {
    /// Sends notifications for as long as the client has those before.
    pub(super) fn notify(&mut self) {
        let now = std::time::Instant::now();
        let mut events = Vec::new();
        while self.endpoint.may_notify()
            && let Some(Outgoing { outbound, row, left }) = &mut self.outgoing
        {
            let Some(outgoing) = outbound.rows().get(*row).cloned() else {
                self.outgoing = None;
                return;
            };
            let left = left.get_or_insert_with(|| {
                let identifiers = outgoing.identifiers.as_deref().map(Vec::as_slice).unwrap_or_default();
                let held = self.held.iter().filter(|held| identifiers.contains(&held.identifier));
                held.flat_map(|held| held.observations.iter().copied()).collect()
            });
            if let Some(observation) = left.pop_front() {
                let message = outbound.message(&outgoing);
                let payload = Bytes::copy_from_slice(message.payload);
                let mut response = Response { payload, ..Response::of(Code::CONTENT) };
                if let Some(format) = message.content_type.and_then(content_format) {
                    response = response.with(option::CONTENT_FORMAT, option::of_uint(format));
                }
                // One that ended meanwhile is passed over.
                let confirmable = outgoing.qos > Qos::AtMostOnce;
                let _is_sent = self.endpoint.notify(observation, response, confirmable, now, &mut events);
                continue;
            }
            if outgoing.qos > Qos::AtMostOnce
                && let Some(session) = &mut self.session
            {
                session.acknowledged(&[outgoing.packet_id]);
            }
            if let Some(outgoing) = &mut self.outgoing {
                outgoing.row += 1;
                outgoing.left = None;
            }
        }
    }

    /// An observation has ended; the subscription ends with the last.
    pub(super) async fn cancelled(&mut self, observation: ObservationId) {
        let mut ended = None;
        for (index, held) in self.held.iter_mut().enumerate() {
            held.observations.retain(|other| *other != observation);
            if held.observations.is_empty() {
                ended = Some(index);
            }
        }
        let Some(index) = ended else { return };
        let held = self.held.remove(index);
        if let Some(session) = &mut self.session {
            session.unsubscribe(&[held.filter]).await;
        }
    }

    /// Tells the client that it is told no more.
    pub(super) fn end_observations(&mut self, refusal: &Response) {
        for observation in self.endpoint.observations() {
            self.endpoint.end(observation, refusal.clone());
        }
        self.held.clear();
        self.outgoing = None;
    }
}

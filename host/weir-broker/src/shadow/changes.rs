//! Telling of changes, for those who read of them.

use std::collections::BTreeSet;

use weir_core::{
    Envelope, Offset, Qos, SubscriptionFilter,
    schema::Records,
    shadow::{Change, Document, Operation, ShadowTopic, change_message, change_of, changed_topic, may_match_changes},
};

use super::{Shadows, api::HUB, replies::Reply};
use crate::{
    delivery::{Change as SessionChange, ControlRecord},
    session::SessionKey,
};

/// What the task itself knows of who reads, and of what was said before.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Subscriptions that can match changes: few are allowed to.
    subscriptions: BTreeSet<(SessionKey, SubscriptionFilter)>,
    /// The last request whose change the log told of at the start. They are told in order: what was not told before it was
    /// not, because nobody read.
    up_to: Option<Offset>,
}

impl Told {
    pub(super) fn new(subscriptions: Vec<(SessionKey, SubscriptionFilter)>) -> Self {
        let subscriptions = subscriptions.into_iter().filter(|(_, filter)| may_match_changes(filter.filter()));
        Self { subscriptions: subscriptions.collect(), up_to: None }
    }
}

impl Shadows {
    /// Tells of a change, if somebody reads it and it was not told before.
    pub(super) fn tell_change(
        &mut self,
        topic: &ShadowTopic,
        request: &Envelope<'_>,
        offset: Offset,
        (operation, before, after): (&Operation, &Document, &Document),
    ) {
        if self.readers.is_empty() && self.told.subscriptions.is_empty() {
            return;
        }
        let name = topic.name.as_ref();
        let told = changed_topic(&topic.device, name);
        let is_read = self.readers.read(&told)
            || self.told.subscriptions.iter().any(|(_, filter)| filter.filter().matches(&told));
        if !is_read || self.told.up_to.is_some_and(|told| offset <= told) {
            return;
        }
        let at = after.changed_at();
        let change =
            Change { device: &topic.device, name, by: request.publisher, offset, at, operation, before, after };
        if let Some(payload) = change_message(&change) {
            self.replies.push(Reply { topic: told, payload, qos: Qos::AtLeastOnce, hop: request.hop });
        }
    }

    /// What the log tells already of changes that are about to be made again, because their requests are.
    pub(super) async fn recall_changes(&mut self, end: Offset) {
        let mut reader = self.log.reader(self.position);
        let mut at = self.position;
        while at < end {
            // What cannot be read here cannot be applied either, and that is told there.
            let Ok(frame) = reader.next_durable().await else { return };
            let records = &frame.records;
            for row in 0..records.len() {
                let topic = records.topic.value(row);
                if records.is_message(row) && topic.starts_with('$') && records.publisher.value(row) == HUB {
                    self.told.up_to = self.told.up_to.max(change_of(topic, records.payload.value(row)));
                }
            }
            at = frame.next;
        }
    }

    /// Keeps account of subscriptions to changes, by a control record.
    pub(super) fn note_subscription(&mut self, records: &Records, row: usize) {
        let topic = records.topic.value(row);
        // Subscriptions stand by their filter; what ends a session stands by none.
        let is_about = topic.contains("$shadow/") || (topic.is_empty() && !self.told.subscriptions.is_empty());
        let Some((key, change)) = is_about.then(|| ControlRecord::read(records, row)).flatten() else { return };
        match change {
            SessionChange::Subscribed { subscription, .. } if may_match_changes(subscription.filter.filter()) => {
                self.told.subscriptions.insert((key, subscription.filter));
            }
            SessionChange::Unsubscribed { filter, .. } => {
                self.told.subscriptions.remove(&(key, filter));
            }
            SessionChange::Opened(opened) if opened.clean => {
                self.told.subscriptions.retain(|(other, _)| *other != key);
            }
            SessionChange::Expired { .. } | SessionChange::Cleared => {
                self.told.subscriptions.retain(|(other, _)| *other != key);
            }
            _ => {}
        }
    }
}

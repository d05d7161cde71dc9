//! Sessions as bytes, and back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_core::{Offset, Qos, RetainHandling, Subscription, SubscriptionFilter};
use weir_store::{DeliveryStep, KeptRow, SavedDelivery, SessionRow, SharedQueueRow};

use super::{Delivery, control::Opened, sessions::SessionState};
use crate::{
    inbox::{
        Inbox, SavedRow,
        ledger::Ledger,
        queue::{Place, Row},
        shared::SharedQueue,
    },
    session::SessionKey,
};

/// The first byte of a stored inbox.
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct StoredInbox {
    version: u8,
    rows: Vec<StoredRow>,
}

#[derive(Serialize, Deserialize)]
struct StoredRow {
    /// `None`: among the kept messages.
    offset: Option<u64>,
    number: u64,
    size: u32,
    qos: u8,
    sent: bool,
    received: bool,
    retain: bool,
    identifiers: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct StoredSubscription {
    filter: SubscriptionFilter,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    identifier: Option<u32>,
}

impl Delivery {
    /// Everything that changed since the last step.
    pub(super) fn capture(&mut self) -> DeliveryStep {
        let (retained, removed_retained) = self.retained.take_changes();
        let mut step = DeliveryStep {
            position: self.position,
            retained,
            removed_retained,
            ended_sessions: std::mem::take(&mut self.sessions.ended).into_iter().collect(),
            ended_shared_queues: std::mem::take(&mut self.sessions.ended_shared).into_iter().collect(),
            ..DeliveryStep::default()
        };
        for (_, session) in &mut self.sessions.slots {
            if session.kept && std::mem::take(&mut session.changed) {
                let (ledger, rows) = session.inbox.snapshot();
                keep_held(&mut step.kept, session.key.as_str(), rows.iter().map(|saved| &saved.row));
                step.sessions.push(session_row(session, ledger, &rows));
            }
        }
        for (_, shared) in &mut self.sessions.shared {
            if std::mem::take(&mut shared.changed) {
                let (rows, next) = shared.queue.snapshot();
                keep_held(&mut step.kept, &shared.queue.name, rows.iter());
                let rows: Vec<SavedRow> =
                    rows.into_iter().map(|row| SavedRow { row, sent: false, received: false }).collect();
                let (filter, done) = (shared.queue.name.clone(), shared.done);
                step.shared_queues.push(SharedQueueRow { filter, next, done, inbox: encode(&rows) });
            }
        }
        step
    }

    /// Takes over what was stored.
    pub(super) fn restore(&mut self, saved: SavedDelivery) {
        self.retained.restore(saved.retained);
        for row in saved.shared_queues {
            let rows = decode(&row.inbox, &row.filter, row.done, self.log.oldest());
            let rows: Vec<Row> = rows.into_iter().map(|saved| saved.row).collect();
            let Ok(filter) = row.filter.parse() else { continue };
            let queue = SharedQueue::restored(row.filter, self.bounds, self.metrics.clone(), rows, row.next);
            self.file_shared(&filter, Arc::new(queue), row.done);
        }
        for row in saved.sessions {
            self.restore_session(row);
        }
        // A queue without members has nobody to give its messages to.
        let empty: Vec<SubscriptionFilter> = self
            .sessions
            .shared
            .iter()
            .filter(|(_, shared)| shared.members.is_empty())
            .map(|(_, shared)| shared.filter.clone())
            .collect();
        empty.iter().for_each(|filter| self.unfile_shared(filter));
    }

    fn restore_session(&mut self, row: SessionRow) {
        let stored: Vec<StoredSubscription> = serde_json::from_str(&row.subscriptions).unwrap_or_else(|error| {
            tracing::error!(session = row.key, %error, "stored subscriptions cannot be read; they are left out");
            Vec::new()
        });
        let rows = decode(&row.inbox, &row.key, row.done, self.log.oldest());
        let mut ledger: Ledger = serde_json::from_str(&row.ledger).unwrap_or_default();
        // What was done after the rest was stored.
        let settled = ledger.acknowledged + ledger.expired + ledger.dropped.total();
        let known = ledger.enqueued.saturating_sub(settled);
        ledger.acknowledged += known.saturating_sub(rows.len() as u64);
        let inbox = Inbox::restored(self.bounds, self.metrics.clone(), ledger, row.next, rows);
        let opened = Opened { connection: row.connection, client_id: row.client_id, clean: false, expiry: row.expiry };
        let mut session = SessionState::new(SessionKey::parse(&row.key), &opened, Arc::new(inbox), true);
        session.offline_since = row.offline_since;
        session.received = row.received.into_iter().collect();
        (session.next, session.done, session.changed) = (row.next, row.done, false);
        let place = self.sessions.insert(session);
        for subscription in stored.into_iter().filter_map(subscription) {
            if let Some(session) = self.sessions.slots.get_mut(place) {
                session.subscriptions.insert(subscription.clone());
            }
            if subscription.filter.group().is_some() {
                self.join(place, &subscription);
            } else {
                self.index.insert(place, &subscription);
            }
        }
    }
}

/// Messages that lie in memory only are stored with the step.
fn keep_held<'a>(kept: &mut Vec<KeptRow>, owner: &str, rows: impl Iterator<Item = &'a Row>) {
    for row in rows {
        if let Place::Held(message) = &row.place {
            kept.push(KeptRow { owner: owner.to_owned(), number: row.number, message: message.encode() });
        }
    }
}

fn session_row(session: &SessionState, ledger: Ledger, rows: &[SavedRow]) -> SessionRow {
    let subscriptions: Vec<StoredSubscription> = session.subscriptions.iter().map(stored_subscription).collect();
    SessionRow {
        key: session.key.as_str().to_owned(),
        client_id: session.client_id.clone(),
        expiry: session.expiry,
        offline_since: session.offline_since,
        connection: session.connection,
        // Plain structs: nothing in them can fail.
        subscriptions: serde_json::to_string(&subscriptions).unwrap_or_default(),
        received: session.received.iter().copied().collect(),
        next: session.next,
        done: session.done,
        ledger: serde_json::to_string(&ledger).unwrap_or_default(),
        inbox: encode(rows),
    }
}

fn stored_subscription(subscription: &Subscription) -> StoredSubscription {
    StoredSubscription {
        filter: subscription.filter.clone(),
        qos: subscription.qos as u8,
        no_local: subscription.no_local,
        retain_as_published: subscription.retain_as_published,
        retain_handling: subscription.retain_handling as u8,
        identifier: subscription.identifier,
    }
}

fn subscription(stored: StoredSubscription) -> Option<Subscription> {
    Some(Subscription {
        qos: Qos::from_u8(stored.qos)?,
        no_local: stored.no_local,
        retain_as_published: stored.retain_as_published,
        retain_handling: RetainHandling::from_u8(stored.retain_handling)?,
        identifier: stored.identifier,
        filter: stored.filter,
    })
}

fn encode(rows: &[SavedRow]) -> Vec<u8> {
    let rows = rows.iter().map(|SavedRow { row, sent, received }| StoredRow {
        offset: match row.place {
            Place::Log(offset) => Some(offset.0),
            Place::Held(_) | Place::Stored => None,
        },
        number: row.number,
        size: row.size,
        qos: row.qos as u8,
        sent: *sent,
        received: *received,
        retain: row.retain,
        identifiers: row.identifiers.as_ref().map(|identifiers| identifiers.to_vec()).unwrap_or_default(),
    });
    // Nothing in it can fail to be written to memory.
    postcard::to_allocvec(&StoredInbox { version: VERSION, rows: rows.collect() }).unwrap_or_default()
}

/// The rows that are not done. What the log, whose oldest record is at `oldest`, has dropped since, was copied into the
/// store before.
fn decode(bytes: &[u8], owner: &str, done: u64, oldest: Offset) -> Vec<SavedRow> {
    let inbox = match postcard::from_bytes::<StoredInbox>(bytes) {
        Ok(inbox) if inbox.version == VERSION => inbox,
        _ => {
            tracing::error!(owner, "a stored inbox cannot be read; it is left out");
            return Vec::new();
        }
    };
    let rows = inbox.rows.into_iter().filter(|row| row.number >= done).filter_map(|stored| {
        let identifiers = (!stored.identifiers.is_empty()).then(|| Arc::new(stored.identifiers));
        let in_log = stored.offset.map(Offset).filter(|offset| *offset >= oldest);
        let place = in_log.map_or(Place::Stored, Place::Log);
        let qos = Qos::from_u8(stored.qos)?;
        let (number, size, retain) = (stored.number, stored.size, stored.retain);
        let row = Row { place, number, identifiers, size, qos, dup: stored.sent, retain };
        Some(SavedRow { row, sent: stored.sent, received: stored.received })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_is_read_again_without_what_is_done() {
        let row = |number, place| Row {
            place,
            number,
            identifiers: Some(Arc::new(vec![7, 268_435_455])),
            size: 20,
            qos: Qos::ExactlyOnce,
            dup: false,
            retain: true,
        };
        let rows = [
            SavedRow { row: row(3, Place::Log(Offset::new(2, 9))), sent: true, received: true },
            SavedRow { row: row(4, Place::Stored), sent: true, received: false },
            SavedRow { row: row(5, Place::Log(Offset::new(2, 12))), sent: false, received: false },
        ];
        let bytes = encode(&rows);
        let read = decode(&bytes, "x", 4, Offset::new(2, 9));
        assert_eq!(read.len(), 2);
        assert!(matches!(read[0].row.place, Place::Stored) && read[0].sent && read[0].row.dup);
        assert!(matches!(read[1].row.place, Place::Log(offset) if offset == Offset::new(2, 12)));
        assert_eq!(read[1].row.identifiers.as_ref().unwrap().as_slice(), [7, 268_435_455]);
        assert!(decode(&bytes, "x", 0, Offset::ZERO)[0].received);
        assert!(matches!(decode(&bytes, "x", 0, Offset::new(2, 13))[2].row.place, Place::Stored));
        assert!(decode(&bytes[..7], "x", 0, Offset::ZERO).is_empty());
    }
}

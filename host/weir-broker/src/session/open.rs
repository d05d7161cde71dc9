//! Opening: who has the session from now on, and with what state of earlier connections.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use weir_core::{Principal, SubscriptionFilter};

use super::{
    CloseReason, Session, SessionError, SessionKey, SessionOptions,
    registry::{Registered, Registration},
};
use crate::{
    Broker,
    delivery::{Attach, Attached, Change, ControlRecord, Gone, Opened, Request},
    inbox::Inbox,
    line::Line,
    pace::Pace,
    policy::KnownTopic,
    presence::Reason,
};

/// How long a connection that is replaced may take to let go.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// The connection's place until the session has it: cancelling the opening gives it back.
struct Pending<'a> {
    broker: &'a Broker,
    key: &'a SessionKey,
    principal: &'a Principal,
    line: Arc<Line>,
    opened: bool,
}

impl Session {
    pub(crate) async fn open(
        broker: Broker,
        principal: Principal,
        options: SessionOptions,
    ) -> Result<Self, SessionError> {
        check(&broker, &principal, &options)?;
        let SessionOptions { client_id, protocol, clean_start, expiry, receive_maximum, will, peer } = options;
        let expiry = expiry.min(u32::try_from(broker.limits().session_expiry.as_secs()).unwrap_or(u32::MAX));
        let key = SessionKey::of(&principal, &client_id);
        if expiry > 0 {
            check_room(&broker, &key).await?;
        }
        let registration = Registration {
            key: &key,
            principal: &principal,
            protocol,
            at: broker.clock().now(),
            certificate: peer.certificate(),
            goes_on: !clean_start,
        };
        let Registered { line, replaced, displaced, open } =
            broker.connections().register(&registration, broker.presence());
        broker.metrics().sessions(open);
        let mut pending =
            Pending { broker: &broker, key: &key, principal: &principal, line: Arc::clone(&line), opened: false };
        if let Some(through) = displaced
            && let Principal::Device(device) = &principal
        {
            broker.end_lent(vec![(device.clone(), through)]).await;
        }
        if let Some(replaced) = replaced {
            // What it still had to say of the session comes first. One that hangs is not waited for.
            let _released = timeout(TAKE_OVER, replaced.released()).await;
        }
        let window = usize::from(receive_maximum.min(broker.limits().inflight));
        let opened = Opened { connection: line.id, client_id: client_id.clone(), clean: clean_start, expiry };
        let (found, kept) = attach(&broker, &key, &line, window, &opened).await?;
        pending.opened = true;
        drop(pending);
        let (inbox, present, received, subscriptions) = found;
        let known_topic = KnownTopic::of(line.id);
        let session = Self {
            client_id: client_id.into(),
            publisher: principal.to_string().into(),
            key,
            principal,
            protocol,
            line,
            inbox,
            present,
            expiry,
            kept,
            will: will.map(Box::new),
            known_topic,
            pace: Pace::default(),
            received: received.into_iter().collect(),
            backlog: None,
            closed: false,
            broker,
        };
        session.end_what_is_not_allowed(subscriptions).await;
        // Whoever takes a right away closes the connections there are; one that was being opened meanwhile looks again.
        let believed = peer.certificate().is_none_or(|certificate| session.broker.still_believed(certificate));
        if !believed || !session.broker.still_known(&session.principal) {
            session.line.close(CloseReason::Disabled);
        }
        Ok(session)
    }

    /// Subscriptions of an earlier connection that this client may not have any more.
    async fn end_what_is_not_allowed(&self, subscriptions: Vec<SubscriptionFilter>) {
        let policy = &self.broker.ingress().policy;
        let may =
            |held: &SubscriptionFilter| policy.may_subscribe(&self.principal, self.line.id, held.filter()).is_ok();
        let refused = subscriptions.into_iter().filter(|held| !may(held));
        let connection = Some(self.line.id);
        let changes: Vec<Change> = refused.map(|filter| Change::Unsubscribed { connection, filter }).collect();
        // If it cannot be written, the hub is going down.
        let _written = self.note_all(&changes).await;
    }
}

fn check(broker: &Broker, principal: &Principal, options: &SessionOptions) -> Result<(), SessionError> {
    if broker.draining() {
        return Err(SessionError::Draining);
    }
    if let Some(will) = &options.will {
        broker.policy().may_publish(principal, will.message.topic.as_str()).map_err(SessionError::Will)?;
        let (size, limit) = (will.message.payload.len(), broker.limits().payload);
        if size > limit {
            return Err(SessionError::WillTooLarge { size, limit });
        }
    }
    Ok(())
}

/// Whether one more session may be kept, or this one goes on.
async fn check_room(broker: &Broker, key: &SessionKey) -> Result<(), SessionError> {
    let asked = key.clone();
    let counts = broker.delivery().ask(|answer| Request::Kept(asked, answer)).await;
    let (all, of_owner, is_kept) = counts.ok_or(SessionError::Draining)?;
    let limits = broker.limits();
    if is_kept {
        Ok(())
    } else if all >= limits.sessions {
        Err(SessionError::TooMany { limit: limits.sessions, setting: "limits.sessions" })
    } else if of_owner >= limits.sessions_per_key {
        Err(SessionError::TooMany { limit: limits.sessions_per_key, setting: "limits.sessions_per_key" })
    } else {
        Ok(())
    }
}

type Found = (Arc<Inbox>, bool, Vec<u16>, Vec<SubscriptionFilter>);

/// Asks Delivery for the session, after writing down what must outlive this process. Says whether it is kept.
async fn attach(
    broker: &Broker,
    key: &SessionKey,
    line: &Arc<Line>,
    window: usize,
    opened: &Opened,
) -> Result<(Found, bool), SessionError> {
    let mut opened_at = None;
    // A clean session that ends with its connection leaves no trace, unless it puts an end to one that was kept.
    let mut kept = opened.expiry > 0 || !opened.clean;
    loop {
        if kept && opened_at.is_none() {
            let control = ControlRecord::new(key, &Change::Opened(opened.clone()));
            let offset = broker.log().append_reserved(&[control.record()]).await;
            opened_at = Some(offset.map_err(|error| SessionError::Log(error.to_string()))?);
        }
        let attach =
            Attach { key: key.clone(), client_id: opened.client_id.clone(), line: Arc::clone(line), window, opened_at };
        match broker.delivery().ask(|answer| Request::Attach(attach, answer)).await {
            Some(Attached::Session { inbox, present, received, subscriptions }) => {
                return Ok(((inbox, present, received, subscriptions), kept));
            }
            Some(Attached::Kept) => kept = true,
            Some(Attached::TakenOver) => return Err(SessionError::TakenOver),
            None => return Err(SessionError::Draining),
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.opened {
            let Self { broker, key, principal, line, .. } = self;
            let open = broker.connections().remove(key, line, principal, Reason::Disconnected, broker.presence());
            broker.metrics().sessions(open);
            broker.delivery().state.tell_gone(Gone { key: (*key).clone(), connection: line.id, is_written: false });
            line.release();
        }
    }
}

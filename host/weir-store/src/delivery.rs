//! What Delivery makes of the log: sessions with their inboxes, queues of shared subscriptions, retained messages.
//!
//! A step changes all of them and the cursor in one transaction, so that what is read at the start belongs together.
//! What inboxes and messages hold is bytes here.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::{Offset, Timestamp};

use crate::{
    Store, StoreError, row,
    snapshots::{get_cursor, set_cursor},
};

const CURSOR: &str = "delivery";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub key: String,
    pub client_id: String,
    /// Seconds that it is kept without a connection.
    pub expiry: u32,
    /// `None`: it was connected.
    pub offline_since: Option<Timestamp>,
    pub connection: u64,
    /// JSON.
    pub subscriptions: String,
    /// Packet identifiers of QoS 2 messages that the client has not released.
    pub received: Vec<u16>,
    /// The number of the next message at QoS 1 or 2.
    pub next: u64,
    /// Every message below this number is done.
    pub done: u64,
    /// JSON.
    pub ledger: String,
    pub inbox: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedQueueRow {
    pub filter: String,
    pub next: u64,
    pub done: u64,
    pub inbox: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedRow {
    pub topic: String,
    pub offset: Offset,
    pub message: Vec<u8>,
}

/// A message of an inbox that is not to be found in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// A session's key or a shared queue's filter.
    pub owner: String,
    pub number: u64,
    pub message: Vec<u8>,
}

/// A step: everything that changed since the last one.
#[derive(Debug, Clone, Default)]
pub struct DeliveryStep {
    pub position: Offset,
    pub sessions: Vec<SessionRow>,
    pub ended_sessions: Vec<String>,
    pub shared_queues: Vec<SharedQueueRow>,
    pub ended_shared_queues: Vec<String>,
    pub retained: Vec<RetainedRow>,
    pub removed_retained: Vec<String>,
    pub kept: Vec<KeptRow>,
}

/// How far owners of inboxes have come: (owner, done).
pub type DoneMarks = Vec<(String, u64)>;

/// Where to go on.
#[derive(Debug, Clone, Default)]
pub struct SavedDelivery {
    /// `None`: nothing was ever saved.
    pub position: Option<Offset>,
    pub sessions: Vec<SessionRow>,
    pub shared_queues: Vec<SharedQueueRow>,
    pub retained: Vec<RetainedRow>,
}

impl Store {
    pub async fn commit_delivery(&self, step: DeliveryStep) -> Result<(), StoreError> {
        self.write(move |connection| {
            set_cursor(connection, CURSOR, step.position)?;
            // First, because what has ended may have begun again.
            for key in &step.ended_sessions {
                forget(connection, "DELETE FROM sessions WHERE key = ?1", key)?;
            }
            for filter in &step.ended_shared_queues {
                forget(connection, "DELETE FROM shared_queues WHERE filter = ?1", filter)?;
            }
            step.sessions.iter().try_for_each(|session| save_session(connection, session))?;
            step.shared_queues.iter().try_for_each(|queue| save_shared_queue(connection, queue))?;
            keep(connection, &step.kept)?;
            let mut retain = connection
                .prepare_cached("INSERT OR REPLACE INTO retained (topic, offset, message) VALUES (?1, ?2, ?3)")?;
            for RetainedRow { topic, offset, message } in &step.retained {
                retain.execute(params![topic, offset.0.cast_signed(), message])?;
            }
            let mut remove = connection.prepare_cached("DELETE FROM retained WHERE topic = ?1")?;
            for topic in &step.removed_retained {
                remove.execute([topic])?;
            }
            Ok(())
        })
        .await
    }

    /// Notes how far inboxes are done since the last step; owners that are not stored (yet) are passed over.
    pub async fn commit_done(&self, sessions: DoneMarks, shared_queues: DoneMarks) -> Result<(), StoreError> {
        self.write(move |connection| {
            for (marks, sql) in [
                (sessions, "UPDATE sessions SET done = ?2 WHERE key = ?1"),
                (shared_queues, "UPDATE shared_queues SET done = ?2 WHERE filter = ?1"),
            ] {
                let mut update = connection.prepare_cached(sql)?;
                for (owner, done) in marks {
                    update.execute(params![owner, done.cast_signed()])?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Keeps messages that the log is about to drop.
    pub async fn keep_messages(&self, messages: Vec<KeptRow>) -> Result<(), StoreError> {
        self.write(move |connection| keep(connection, &messages)).await
    }

    pub async fn delivery(&self) -> Result<SavedDelivery, StoreError> {
        self.read(|connection| {
            // One transaction, so that its parts belong together.
            let snapshot = connection.unchecked_transaction()?;
            Ok(SavedDelivery {
                position: get_cursor(&snapshot, CURSOR)?,
                sessions: load_sessions(&snapshot)?,
                shared_queues: load_shared_queues(&snapshot)?,
                retained: load_retained(&snapshot)?,
            })
        })
        .await
    }

    /// A message that an inbox holds and the log does not. Short: on the caller's thread.
    pub fn kept_message(&self, owner: &str, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.point(|connection| {
            let mut select =
                connection.prepare_cached("SELECT message FROM kept_messages WHERE owner = ?1 AND number = ?2")?;
            Ok(select.query_row(params![owner, number.cast_signed()], |row| row.get(0)).optional()?)
        })
    }
}

fn save_session(connection: &Connection, session: &SessionRow) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO sessions (key, client_id, expiry, offline_since, connection, subscriptions,
             received, next, done, ledger, inbox) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            session.key,
            session.client_id,
            session.expiry,
            session.offline_since.map(|at| at.0),
            session.connection.cast_signed(),
            session.subscriptions,
            row::to_json(&session.received)?,
            session.next.cast_signed(),
            session.done.cast_signed(),
            session.ledger,
            session.inbox
        ])?;
    drop_done(connection, &session.key, session.done)
}

fn save_shared_queue(connection: &Connection, queue: &SharedQueueRow) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO shared_queues (filter, next, done, inbox) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![queue.filter, queue.next.cast_signed(), queue.done.cast_signed(), queue.inbox])?;
    drop_done(connection, &queue.filter, queue.done)
}

fn keep(connection: &Connection, messages: &[KeptRow]) -> Result<(), StoreError> {
    let mut keep = connection
        .prepare_cached("INSERT OR REPLACE INTO kept_messages (owner, number, message) VALUES (?1, ?2, ?3)")?;
    for KeptRow { owner, number, message } in messages {
        keep.execute(params![owner, number.cast_signed(), message])?;
    }
    Ok(())
}

fn drop_done(connection: &Connection, owner: &str, done: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM kept_messages WHERE owner = ?1 AND number < ?2")?
        .execute(params![owner, done.cast_signed()])?;
    Ok(())
}

fn forget(connection: &Connection, sql: &str, owner: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([owner])?;
    connection.prepare_cached("DELETE FROM kept_messages WHERE owner = ?1")?.execute([owner])?;
    Ok(())
}

fn load_sessions(connection: &Connection) -> Result<Vec<SessionRow>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT key, client_id, expiry, offline_since, connection, subscriptions, received, next, done, ledger, inbox
         FROM sessions",
    )?;
    let sessions = select.query_map([], |row| {
        Ok(SessionRow {
            key: row.get(0)?,
            client_id: row.get(1)?,
            expiry: row.get(2)?,
            offline_since: row.get::<_, Option<i64>>(3)?.map(Timestamp),
            connection: row::unsigned(row, 4)?,
            subscriptions: row.get(5)?,
            received: row::json(row, 6)?,
            next: row::unsigned(row, 7)?,
            done: row::unsigned(row, 8)?,
            ledger: row.get(9)?,
            inbox: row.get(10)?,
        })
    })?;
    Ok(sessions.collect::<Result<_, _>>()?)
}

fn load_shared_queues(connection: &Connection) -> Result<Vec<SharedQueueRow>, StoreError> {
    let mut select = connection.prepare_cached("SELECT filter, next, done, inbox FROM shared_queues")?;
    let queues = select.query_map([], |row| {
        Ok(SharedQueueRow {
            filter: row.get(0)?,
            next: row::unsigned(row, 1)?,
            done: row::unsigned(row, 2)?,
            inbox: row.get(3)?,
        })
    })?;
    Ok(queues.collect::<Result<_, _>>()?)
}

fn load_retained(connection: &Connection) -> Result<Vec<RetainedRow>, StoreError> {
    let mut select = connection.prepare_cached("SELECT topic, offset, message FROM retained")?;
    let retained = select.query_map([], |row| {
        Ok(RetainedRow { topic: row.get(0)?, offset: row::offset(row, 1)?, message: row.get(2)? })
    })?;
    Ok(retained.collect::<Result<_, _>>()?)
}

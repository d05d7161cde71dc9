//! The one thread that writes.
//!
//! Writes that wait are run together in one transaction, each in its own savepoint, and answered after the commit: one
//! sync of the disk serves them all. A write that fails is undone alone; if the commit fails, all of its group fail.
//!
//! A write of many rows may have a transaction of its own: within a savepoint SQLite keeps a copy of every page that is
//! changed, which costs as much as changing it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// Writes that may wait. Beyond it callers wait at the door.
const QUEUE: usize = 256;

/// Writes in one transaction at most, so that the first does not wait for ever.
const GROUP: usize = 128;

/// Tells a caller how its write ended, given how the commit ended.
type Settle = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A write: gets the connection, or the reason why there is no transaction.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Ran + Send>;

struct Ran {
    error: Option<StoreError>,
    settle: Settle,
}

enum Request {
    Write(Job),
    /// One that makes a transaction by itself.
    Alone(Job),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(crate) struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    pub(crate) fn start(connection: Connection) -> std::io::Result<Self> {
        let (requests, receiver) = mpsc::channel(QUEUE);
        thread::Builder::new().name("weir-store".to_owned()).spawn(move || run(connection, receiver))?;
        Ok(Self { requests })
    }

    /// Runs `write` in a transaction and answers when it is on disk. On an error nothing of it remains.
    pub(crate) async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(Request::Write, move |connection| in_savepoint(connection, write)).await
    }

    /// The same for a write of many rows, which shares its transaction with no other.
    pub(crate) async fn write_alone<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(Request::Alone, move |connection| caught(connection, write)).await
    }

    async fn ask<T, F>(&self, request: fn(Job) -> Request, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = connection.and_then(run);
            let error = result.as_ref().err().cloned();
            let settle: Settle = Box::new(move |committed| {
                // Nobody listens when the caller was cancelled; the write stands all the same.
                answer.send(result.and_then(|value| committed.map(|()| value))).ok();
            });
            Ran { error, settle }
        });
        self.requests.send(request(job)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Ends the thread when everything asked before is written. Later writes are refused.
    pub(crate) async fn close(&self) {
        let (done, ended) = oneshot::channel();
        if self.requests.send(Request::Close(done)).await.is_ok() {
            ended.await.ok();
        }
    }
}

fn run(connection: Connection, mut requests: mpsc::Receiver<Request>) {
    let mut group = Vec::new();
    let mut closing = None;
    while closing.is_none() {
        let mut next = requests.blocking_recv();
        if next.is_none() {
            break;
        }
        while let Some(request) = next {
            match request {
                Request::Write(job) => group.push(job),
                Request::Alone(job) => {
                    run_group(&connection, group.drain(..));
                    run_alone(&connection, job);
                }
                Request::Close(done) => {
                    closing = Some(done);
                    break;
                }
            }
            next = if group.len() < GROUP { requests.try_recv().ok() } else { None };
        }
        run_group(&connection, group.drain(..));
    }
    requests.close();
    // A store at rest is one file, which an operator can copy.
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the store closes with a write-ahead log; nothing is lost");
    }
    drop(connection);
    if let Some(done) = closing {
        done.send(()).ok();
    }
}

fn run_group(connection: &Connection, group: impl Iterator<Item = Job>) {
    let mut settles: Vec<Settle> = Vec::new();
    for job in group {
        let begun = if settles.is_empty() || connection.is_autocommit() {
            execute(connection, "BEGIN IMMEDIATE").map(|()| connection)
        } else {
            Ok(connection)
        };
        let Ran { error, settle } = job(begun);
        // SQLite undoes the whole transaction after some errors, such as a full disk: the writes before this one are
        // gone too, and those after it get a transaction of their own.
        if let (Some(error), true) = (&error, connection.is_autocommit()) {
            settle(Err(error.clone()));
            settles.drain(..).for_each(|settle| settle(Err(error.clone())));
        } else {
            settles.push(settle);
        }
    }
    if settles.is_empty() {
        return;
    }
    let committed = commit(connection);
    settles.into_iter().for_each(|settle| settle(committed.clone()));
}

fn run_alone(connection: &Connection, job: Job) {
    let Ran { error, settle } = job(execute(connection, "BEGIN IMMEDIATE").map(|()| connection));
    settle(match error {
        None => commit(connection),
        Some(error) => {
            roll_back(connection);
            Err(error)
        }
    });
}

fn commit(connection: &Connection) -> Result<(), StoreError> {
    let committed = execute(connection, "COMMIT");
    if let Err(error) = &committed {
        tracing::error!(%error, "a commit of the store failed");
        roll_back(connection);
    }
    committed
}

fn in_savepoint<T>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    execute(connection, "SAVEPOINT job")?;
    let result = caught(connection, write);
    let undone = match &result {
        Ok(_) => return execute(connection, "RELEASE job").and(result),
        Err(_) => execute(connection, "ROLLBACK TO job").and_then(|()| execute(connection, "RELEASE job")),
    };
    if undone.is_err() {
        roll_back(connection);
    }
    result
}

/// The closure's state is dropped by the unwinding, and whoever began undoes its writes, so nothing half-done is seen.
fn caught<T>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(|| write(connection))).unwrap_or(Err(StoreError::Panicked))
}

/// Leaves no transaction open, whatever state it was in.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = execute(connection, "ROLLBACK")
    {
        tracing::error!(%error, "a roll-back of the store failed");
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

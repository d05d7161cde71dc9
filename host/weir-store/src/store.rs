//! The handle: one connection that writes, one for the short reads of authentication, a few for longer reads.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tokio::sync::Semaphore;

use crate::{
    OpenError, StoreError,
    migrate::{migrate, open_error},
    vault::Vault,
    writer::Writer,
};

const DATABASE: &str = "store.sqlite";

/// Longer reads at once. Beyond it they wait.
const READERS: usize = 4;

/// How long to wait for another program (a backup) that holds the database.
const BUSY: Duration = Duration::from_secs(5);

/// Files up to this size are checked whole when opened; damage in larger ones is found when the page is read.
const CHECKED_BYTES: u64 = 64 << 20;

/// Statements that each connection keeps prepared.
const STATEMENTS: usize = 128;

/// KiB of the database that the writer keeps in memory: what one step of shadows changes should fit.
const WRITER_CACHE: i64 = 32 << 10;

/// The same for each connection that reads.
const READER_CACHE: i64 = 4 << 10;

/// Pages of the write-ahead log after which the writer copies them into the database. One that changed often since is
/// copied once.
const CHECKPOINT: i64 = 8_192;

/// Bounds of what accumulates.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Dead letters kept for one rule. Beyond it the oldest go, and are counted.
    pub dead_letters_per_rule: u64,
    /// Bytes of dead letters kept for one rule. Beyond it the oldest go, and are counted.
    pub dead_letter_bytes_per_rule: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { dead_letters_per_rule: 100_000, dead_letter_bytes_per_rule: 256 << 20 }
    }
}

/// The store. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    options: StoreOptions,
    vault: Arc<Vault>,
    writer: Writer,
    /// Guards the connection for single-row reads; held for one lookup.
    point: Mutex<Connection>,
    /// Idle connections for longer reads; the lock is held to take or put one back.
    readers: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Store {
    /// Opens the store in `folder`, which must exist; makes one if there is none. Blocks.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(folder, StoreOptions::default())
    }

    pub fn open_with(folder: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let path = folder.join(DATABASE);
        let failed = |error: rusqlite::Error| open_error(&path, error.into());
        let size = make_private(&path).map_err(|error| OpenError::File { path: path.clone(), error })?;
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        if size <= CHECKED_BYTES {
            check(&connection, &path)?;
        }
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
        if mode != "wal" {
            let reason = "its file system cannot hold a write-ahead log".to_owned();
            return Err(OpenError::Failed { path, reason });
        }
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE).map_err(failed)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT).map_err(failed)?;
        migrate(&mut connection, &path)?;
        let vault = open_vault(&connection, folder, &path)?;
        let point = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        let writer = Writer::start(connection).map_err(|error| OpenError::File { path: path.clone(), error })?;
        Ok(Self(Arc::new(Inner {
            path,
            options,
            vault: Arc::new(vault),
            writer,
            point: Mutex::new(point),
            readers: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(READERS)),
        })))
    }

    /// Ends the writer when everything asked before is on disk. Reads still work; writes are refused.
    pub async fn close(&self) {
        self.0.writer.close().await;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    pub(crate) fn options(&self) -> &StoreOptions {
        &self.0.options
    }

    pub(crate) fn vault(&self) -> Arc<Vault> {
        self.0.vault.clone()
    }

    /// See [`Writer::write`].
    pub(crate) async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.0.writer.write(write).await
    }

    /// See [`Writer::write_alone`].
    pub(crate) async fn write_alone<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.0.writer.write_alone(write).await
    }

    /// A read of one row or a few, by key, on the caller's thread.
    pub(crate) fn point<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(&self.0.point.lock())
    }

    /// A read that may take long, on a thread for blocking work. Sees every write answered before.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = self.0.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let inner = self.0.clone();
        let work = move || {
            let idle = inner.readers.lock().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => {
                    let connection = connect(&inner.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
                    connection.pragma_update(None, "cache_size", -READER_CACHE)?;
                    connection
                }
            };
            let result = read(&connection);
            inner.readers.lock().push(connection);
            // Held to the end of the work even if the caller has gone, so that the bound is true.
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Failed(error.to_string()))?
    }
}

pub(crate) fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Makes the file if it is absent, for its owner alone: SQLite gives the files beside it the same mode. Returns its size.
fn make_private(path: &Path) -> io::Result<u64> {
    let file = fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    Ok(file.metadata()?.len())
}

fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| open_error(path, error.into()))?;
    if verdict == "ok" { Ok(()) } else { Err(OpenError::Damaged { path: path.to_owned(), reason: verdict }) }
}

fn open_vault(connection: &Connection, folder: &Path, path: &Path) -> Result<Vault, OpenError> {
    let failed = |error: StoreError| open_error(path, error);
    let proof: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = 'key'", [], |row| row.get(0))
        .optional()
        .map_err(|error| failed(error.into()))?;
    let vault = Vault::open(folder, proof.as_deref())?;
    if proof.is_none() {
        let proof = vault.proof().map_err(failed)?;
        connection
            .execute("INSERT INTO meta (name, value) VALUES ('key', ?1)", [proof])
            .map_err(|error| failed(error.into()))?;
    }
    Ok(vault)
}

//! Snapshots of state that is otherwise made from the log, and cursors over it.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::Offset;

use crate::{Store, StoreError, row};

/// State as it was after every record below `offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub offset: Offset,
    pub bytes: Vec<u8>,
}

impl Store {
    /// Replaces the snapshot of that name.
    pub async fn put_snapshot(&self, name: &str, offset: Offset, bytes: Vec<u8>) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO snapshots (name, position, bytes) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET position = excluded.position, bytes = excluded.bytes",
                )?
                .execute(params![name, offset.0.cast_signed(), bytes])?;
            Ok(())
        })
        .await
    }

    pub async fn snapshot(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT position, bytes FROM snapshots WHERE name = ?1")?;
            let snapshot = select
                .query_row([name], |row| Ok(Snapshot { offset: row::offset(row, 0)?, bytes: row.get(1)? }))
                .optional()?;
            Ok(snapshot)
        })
        .await
    }

    pub async fn put_cursor(&self, name: &str, offset: Offset) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |connection| set_cursor(connection, &name, offset)).await
    }

    pub async fn cursor(&self, name: &str) -> Result<Option<Offset>, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| get_cursor(connection, &name)).await
    }
}

pub(crate) fn set_cursor(connection: &Connection, name: &str, offset: Offset) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO cursors (name, position) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET position = excluded.position",
        )?
        .execute(params![name, offset.0.cast_signed()])?;
    Ok(())
}

pub(crate) fn get_cursor(connection: &Connection, name: &str) -> Result<Option<Offset>, StoreError> {
    let mut select = connection.prepare_cached("SELECT position FROM cursors WHERE name = ?1")?;
    Ok(select.query_row([name], |row| row::offset(row, 0)).optional()?)
}

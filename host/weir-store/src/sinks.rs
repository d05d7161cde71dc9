//! Sinks: targets with a name, as they were written.

use rusqlite::{OptionalExtension, Row, params};
use weir_core::{SinkName, Timestamp};

use crate::{Store, StoreError, plugins::owner_of_sink, row};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkRow {
    pub name: SinkName,
    /// The kind of target, such as `webhook`.
    pub kind: String,
    /// The whole statement as written.
    pub text: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const SELECT: &str = "SELECT name, kind, text, created_at, updated_at FROM sinks";

impl Store {
    /// Makes or replaces a sink.
    pub async fn put_sink(&self, name: &SinkName, kind: &str, text: &str, now: Timestamp) -> Result<(), StoreError> {
        let (name, kind, text) = (name.clone(), kind.to_owned(), text.to_owned());
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO sinks (name, kind, text, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)
                     ON CONFLICT DO UPDATE SET kind = excluded.kind, text = excluded.text,
                     updated_at = excluded.updated_at",
                )?
                .execute(params![name.as_str(), kind, text, now.0])?;
            Ok(())
        })
        .await
    }

    /// All sinks, by name.
    pub async fn sinks(&self) -> Result<Vec<SinkRow>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
            Ok(select.query_map([], sink)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Short: on the caller's thread.
    pub fn sink(&self, name: &SinkName) -> Result<Option<SinkRow>, StoreError> {
        self.point(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE name = ?1"))?;
            Ok(select.query_row([name.as_str()], sink).optional()?)
        })
    }

    /// Whether rules still use it is for the caller to know: the store does not read rules.
    pub async fn delete_sink(&self, name: &SinkName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |connection| {
            match connection.prepare_cached("DELETE FROM sinks WHERE name = ?1")?.execute([name.as_str()])? {
                0 => Err(StoreError::missing("sink", name)),
                _ => Self::forget_values(connection, &owner_of_sink(name.as_str())),
            }
        })
        .await
    }
}

fn sink(row: &Row<'_>) -> rusqlite::Result<SinkRow> {
    Ok(SinkRow {
        name: row::parsed(row, 0)?,
        kind: row.get(1)?,
        text: row.get(2)?,
        created_at: row::timestamp(row, 3)?,
        updated_at: row::timestamp(row, 4)?,
    })
}

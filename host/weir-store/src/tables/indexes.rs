//! Indexes that users declare. SQLite keeps them in the transaction that changes the document.

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_core::{IndexName, Timestamp, statement::IndexDefinition, table::Indexed};

use super::condition::{index_clause, index_name};
use crate::{Store, StoreError, row};

/// Indexes that may exist: each makes every change of a shadow a little dearer.
pub const INDEXES: u32 = 16;

const SELECT: &str = "SELECT name, text, indexed, created_at FROM indexes";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRow {
    pub name: IndexName,
    /// The whole statement as written.
    pub text: String,
    pub indexed: Indexed,
    pub created_at: Timestamp,
}

impl Store {
    /// Makes or replaces an index. Where there are many shadows this takes a while, and other writes wait.
    pub async fn put_index(&self, index: IndexDefinition, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| {
            let IndexDefinition { name, text, indexed } = index;
            let Some(clause) = index_clause(&indexed) else {
                return Err(StoreError::Failed(format!("{indexed} cannot be indexed")));
            };
            connection
                .prepare_cached(
                    "INSERT INTO indexes (name, text, indexed, created_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET text = excluded.text, indexed = excluded.indexed",
                )?
                .execute(params![name.as_str(), text, row::to_json(&indexed)?, now.0])?;
            let count: u32 = connection.query_row("SELECT count(*) FROM indexes", [], |row| row.get(0))?;
            if count > INDEXES {
                return Err(StoreError::TooMany { what: "indexes", of: "the hub".to_owned(), limit: INDEXES });
            }
            let index = index_name(name.as_str());
            connection.execute_batch(&format!(
                "DROP INDEX IF EXISTS \"{index}\"; CREATE INDEX \"{index}\" ON shadows {clause}"
            ))?;
            Ok(())
        })
        .await
    }

    pub async fn delete_index(&self, name: &IndexName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |connection| {
            if connection.prepare_cached("DELETE FROM indexes WHERE name = ?1")?.execute([name.as_str()])? == 0 {
                return Err(StoreError::missing("index", name));
            }
            connection.execute_batch(&format!("DROP INDEX IF EXISTS \"{}\"", index_name(name.as_str())))?;
            Ok(())
        })
        .await
    }

    /// All indexes, by name.
    pub async fn indexes(&self) -> Result<Vec<IndexRow>, StoreError> {
        self.read(all).await
    }

    /// Short: on the caller's thread.
    pub fn index(&self, name: &IndexName) -> Result<Option<IndexRow>, StoreError> {
        self.point(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE name = ?1"))?;
            Ok(select.query_row([name.as_str()], index).optional()?)
        })
    }
}

pub(super) fn all(connection: &Connection) -> Result<Vec<IndexRow>, StoreError> {
    let mut select = connection.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
    Ok(select.query_map([], index)?.collect::<Result<_, _>>()?)
}

fn index(row: &Row<'_>) -> rusqlite::Result<IndexRow> {
    Ok(IndexRow {
        name: row::parsed(row, 0)?,
        text: row.get(1)?,
        indexed: row::json(row, 2)?,
        created_at: row::timestamp(row, 3)?,
    })
}

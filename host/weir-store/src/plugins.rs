//! Plugins by name: the component in force and how often it was exchanged; and the keys and values that plugins keep.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_core::{
    PluginName, Timestamp,
    plugin::{PluginSummary, PluginValues},
    seams::BoxFuture,
};

use crate::{Store, StoreError, row};

/// Plugins that may exist.
pub const PLUGINS: u32 = 1_000;

/// A plugin without its component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRow {
    pub name: PluginName,
    /// Counts what was pushed by this name.
    pub version: u32,
    pub summary: PluginSummary,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const SELECT: &str = "SELECT name, version, summary, created_at, updated_at FROM plugins";

impl Store {
    /// Makes or replaces a plugin. The same component again changes nothing. Says the version.
    pub async fn put_plugin(
        &self,
        name: &PluginName,
        summary: &PluginSummary,
        component: Arc<[u8]>,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        let (name, digest, shown) = (name.clone(), summary.digest.clone(), row::to_json(summary)?);
        self.write(move |connection| {
            let known: Option<(String, u32)> = connection
                .prepare_cached("SELECT digest, version FROM plugins WHERE name = ?1")?
                .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            match known {
                Some((known, version)) if known == digest => return Ok(version),
                Some(_) => {}
                None => check_count(connection)?,
            }
            let version = known.map_or(1, |(_, version)| version.saturating_add(1));
            connection
                .prepare_cached(
                    "INSERT INTO plugins (name, version, digest, summary, component, created_at, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
                     ON CONFLICT DO UPDATE SET version = excluded.version, digest = excluded.digest,
                     summary = excluded.summary, component = excluded.component, updated_at = excluded.updated_at",
                )?
                .execute(params![name.as_str(), version, digest, shown, component.as_ref(), now.0])?;
            Ok(version)
        })
        .await
    }

    /// All plugins, by name.
    pub async fn plugins(&self) -> Result<Vec<PluginRow>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
            Ok(select.query_map([], plugin)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Short: on the caller's thread.
    pub fn plugin(&self, name: &PluginName) -> Result<Option<PluginRow>, StoreError> {
        self.point(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE name = ?1"))?;
            Ok(select.query_row([name.as_str()], plugin).optional()?)
        })
    }

    pub async fn plugin_component(&self, name: &PluginName) -> Result<Option<Arc<[u8]>>, StoreError> {
        let name = name.clone();
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT component FROM plugins WHERE name = ?1")?;
            let component =
                select.query_row([name.as_str()], |row| Ok(row.get_ref(0)?.as_blob()?.into())).optional()?;
            Ok(component)
        })
        .await
    }

    /// Whether sinks still use it is for the caller to know.
    pub async fn delete_plugin(&self, name: &PluginName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |connection| {
            match connection.prepare_cached("DELETE FROM plugins WHERE name = ?1")?.execute([name.as_str()])? {
                0 => Err(StoreError::missing("plugin", name)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Forgets what a plugin has kept for a use that is gone.
    pub(crate) fn forget_values(connection: &Connection, owner: &str) -> Result<(), StoreError> {
        connection.prepare_cached("DELETE FROM plugin_values WHERE owner = ?1")?.execute([owner])?;
        Ok(())
    }
}

/// Whose keys and values those of a sink are.
pub(crate) fn owner_of_sink(sink: &str) -> String {
    format!("sink {sink}")
}

impl PluginValues for Store {
    fn get<'a>(&'a self, owner: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, String>> {
        let found = self.point(|connection| {
            let mut select =
                connection.prepare_cached("SELECT value FROM plugin_values WHERE owner = ?1 AND key = ?2")?;
            Ok(select.query_row([owner, key], |row| row.get(0)).optional()?)
        });
        Box::pin(async move { found.map_err(|error| error.to_string()) })
    }

    fn set<'a>(
        &'a self,
        owner: &'a str,
        key: &'a str,
        value: Vec<u8>,
        limit: u64,
    ) -> BoxFuture<'a, Result<bool, String>> {
        let (owner, key) = (owner.to_owned(), key.to_owned());
        let write = self.write(move |connection| {
            let others: u64 = connection
                .prepare_cached(
                    "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0) FROM plugin_values
                     WHERE owner = ?1 AND key <> ?2",
                )?
                .query_row([&owner, &key], |row| row::unsigned(row, 0))?;
            if others.saturating_add(key.len() as u64).saturating_add(value.len() as u64) > limit {
                return Ok(false);
            }
            connection
                .prepare_cached(
                    "INSERT INTO plugin_values (owner, key, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET value = excluded.value",
                )?
                .execute(params![owner, key, value])?;
            Ok(true)
        });
        Box::pin(async move { write.await.map_err(|error| error.to_string()) })
    }

    fn delete<'a>(&'a self, owner: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), String>> {
        let (owner, key) = (owner.to_owned(), key.to_owned());
        let write = self.write(move |connection| {
            connection
                .prepare_cached("DELETE FROM plugin_values WHERE owner = ?1 AND key = ?2")?
                .execute([&owner, &key])?;
            Ok(())
        });
        Box::pin(async move { write.await.map_err(|error| error.to_string()) })
    }
}

fn check_count(connection: &Connection) -> Result<(), StoreError> {
    let count: u32 = connection.query_row("SELECT count(*) FROM plugins", [], |row| row.get(0))?;
    match count >= PLUGINS {
        true => Err(StoreError::TooMany { what: "plugins", of: "the hub".to_owned(), limit: PLUGINS }),
        false => Ok(()),
    }
}

fn plugin(row: &Row<'_>) -> rusqlite::Result<PluginRow> {
    Ok(PluginRow {
        name: row::parsed(row, 0)?,
        version: row.get(1)?,
        summary: row::json(row, 2)?,
        created_at: row::timestamp(row, 3)?,
        updated_at: row::timestamp(row, 4)?,
    })
}

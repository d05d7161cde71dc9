//! Rules as they were written, with their older versions.

use rusqlite::{OptionalExtension, Row, params};
use weir_core::{KeyName, Offset, RuleName, Timestamp};

use crate::{ERROR_ACTION, Store, StoreError, row};

/// Versions of one rule that are kept, the current one included. Beyond it the oldest go.
const KEPT_VERSIONS: u32 = 100;

/// A rule to be saved.
#[derive(Debug, Clone)]
pub struct NewRule {
    pub name: RuleName,
    /// The whole statement as written.
    pub text: String,
    /// Whose authority it has.
    pub owner: KeyName,
    pub enabled: bool,
    /// The first offset that it reads. Matters when the rule is new; a changed rule goes on where it was.
    pub start: Offset,
    /// How many actions it has, those for errors and late messages not counted. Progress of others is forgotten.
    pub actions: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRow {
    pub name: RuleName,
    pub text: String,
    pub owner: KeyName,
    pub enabled: bool,
    /// From 1; grows by one whenever text or owner change.
    pub version: u32,
    /// The first offset that it reads.
    pub start: Offset,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleVersion {
    pub version: u32,
    pub text: String,
    pub owner: KeyName,
    pub created_at: Timestamp,
}

const SELECT: &str = "SELECT name, text, owner, enabled, version, start, created_at, updated_at FROM rules";

impl Store {
    /// Makes or changes a rule. If text and owner are what they were, there is no new version.
    pub async fn put_rule(&self, new: NewRule, now: Timestamp) -> Result<RuleRow, StoreError> {
        self.write(move |connection| {
            let name = new.name.as_str();
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE name = ?1"))?;
            let found = select.query_row([name], rule).optional()?;
            let changed = found.as_ref().is_none_or(|old| old.text != new.text || old.owner != new.owner);
            let saved = RuleRow {
                version: found.as_ref().map_or(0, |old| old.version) + u32::from(changed),
                start: found.as_ref().map_or(new.start, |old| old.start),
                created_at: found.as_ref().map_or(now, |old| old.created_at),
                updated_at: found.filter(|_| !changed).map_or(now, |old| old.updated_at),
                name: new.name.clone(),
                text: new.text,
                owner: new.owner,
                enabled: new.enabled,
            };
            connection
                .prepare_cached(
                    "INSERT INTO rules (name, version, text, owner, enabled, start, created_at, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     ON CONFLICT DO UPDATE SET version = excluded.version, text = excluded.text,
                     owner = excluded.owner, enabled = excluded.enabled, updated_at = excluded.updated_at",
                )?
                .execute(params![
                    name,
                    saved.version,
                    saved.text,
                    saved.owner.as_str(),
                    saved.enabled,
                    saved.start.0.cast_signed(),
                    saved.created_at.0,
                    saved.updated_at.0
                ])?;
            if changed {
                connection
                    .prepare_cached(
                        "INSERT INTO rule_versions (name, version, text, owner, created_at)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![name, saved.version, saved.text, saved.owner.as_str(), now.0])?;
                connection
                    .prepare_cached("DELETE FROM rule_versions WHERE name = ?1 AND version <= ?2")?
                    .execute(params![name, saved.version.saturating_sub(KEPT_VERSIONS)])?;
            }
            connection
                .prepare_cached("DELETE FROM action_progress WHERE rule = ?1 AND action >= ?2 AND action < ?3")?
                .execute(params![name, new.actions, ERROR_ACTION])?;
            Ok(saved)
        })
        .await
    }

    /// All rules, by name.
    pub async fn rules(&self) -> Result<Vec<RuleRow>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
            Ok(select.query_map([], rule)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The newest first; none if there is no such rule.
    pub async fn rule_versions(&self, name: &RuleName) -> Result<Vec<RuleVersion>, StoreError> {
        let name = name.clone();
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT version, text, owner, created_at FROM rule_versions WHERE name = ?1 ORDER BY version DESC",
            )?;
            let versions = select.query_map([name.as_str()], |row| {
                Ok(RuleVersion {
                    version: row.get(0)?,
                    text: row.get(1)?,
                    owner: row::parsed(row, 2)?,
                    created_at: row::timestamp(row, 3)?,
                })
            })?;
            Ok(versions.collect::<Result<_, _>>()?)
        })
        .await
    }

    pub async fn set_rule_enabled(&self, name: &RuleName, enabled: bool) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |connection| {
            let mut update = connection.prepare_cached("UPDATE rules SET enabled = ?2 WHERE name = ?1")?;
            match update.execute(params![name.as_str(), enabled])? {
                0 => Err(StoreError::missing("rule", name)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Its versions, cursors and ledgers go with it. Its dead letters stay until they are deleted: they may be all that
    /// is left of a message.
    pub async fn delete_rule(&self, name: &RuleName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |connection| {
            let deleted = connection.prepare_cached("DELETE FROM rules WHERE name = ?1")?.execute([name.as_str()])?;
            if deleted == 0 {
                return Err(StoreError::missing("rule", name));
            }
            connection
                .prepare_cached("DELETE FROM dead_letter_totals WHERE rule = ?1 AND kept = 0")?
                .execute([name.as_str()])?;
            Ok(())
        })
        .await
    }
}

fn rule(row: &Row<'_>) -> rusqlite::Result<RuleRow> {
    Ok(RuleRow {
        name: row::parsed(row, 0)?,
        text: row.get(1)?,
        owner: row::parsed(row, 2)?,
        enabled: row.get(3)?,
        version: row.get(4)?,
        start: row::offset(row, 5)?,
        created_at: row::timestamp(row, 6)?,
        updated_at: row::timestamp(row, 7)?,
    })
}

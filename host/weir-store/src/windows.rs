//! The windows of rules: how far each rule's have come, with their state, in one write.

use rusqlite::params;
use weir_core::{Offset, RuleName};

use crate::{Store, StoreError, row};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedWindows {
    pub rule: RuleName,
    /// One past the last record that they have taken.
    pub position: Offset,
    /// Up to where the log was durable when they had.
    pub durable: Offset,
    /// Absent: nothing was open yet.
    pub state: Option<Vec<u8>>,
}

impl Store {
    /// Saves the windows of a rule. Without a state the one that is saved stays. A rule that does not exist (any more) is
    /// passed over.
    pub async fn put_windows(&self, windows: SavedWindows) -> Result<(), StoreError> {
        self.write(move |connection| {
            let SavedWindows { rule, position, durable, state } = windows;
            connection
                .prepare_cached(
                    "INSERT INTO rule_windows (rule, position, durable, state)
                     SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM rules WHERE name = ?1)
                     ON CONFLICT DO UPDATE SET position = excluded.position, durable = excluded.durable,
                     state = coalesce(excluded.state, state)",
                )?
                .execute(params![rule.as_str(), position.0.cast_signed(), durable.0.cast_signed(), state])?;
            Ok(())
        })
        .await
    }

    pub async fn delete_windows(&self, rule: &RuleName) -> Result<(), StoreError> {
        let rule = rule.clone();
        self.write(move |connection| {
            connection.prepare_cached("DELETE FROM rule_windows WHERE rule = ?1")?.execute([rule.as_str()])?;
            Ok(())
        })
        .await
    }

    /// The windows of all rules, by name.
    pub async fn windows(&self) -> Result<Vec<SavedWindows>, StoreError> {
        self.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT rule, position, durable, state FROM rule_windows ORDER BY rule")?;
            let windows = select.query_map([], |row| {
                Ok(SavedWindows {
                    rule: row::parsed(row, 0)?,
                    position: row::offset(row, 1)?,
                    durable: row::offset(row, 2)?,
                    state: row.get(3)?,
                })
            })?;
            Ok(windows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

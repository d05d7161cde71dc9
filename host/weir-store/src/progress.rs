//! How far rules and their actions have come, and what became of their rows. Ledger, position and dead letters change
//! in one transaction, so the equations of the ledgers hold after every crash.

use std::ops::AddAssign;

use rusqlite::{Connection, params};
use weir_core::{Offset, RuleName};

use crate::{
    DeadLetterKind, NewDeadLetter, Store, StoreError,
    dead_letters::{add_dead_letters, dead_letter_arguments},
    row,
    snapshots::{get_cursor, set_cursor},
};

/// The number by which a rule's error target stands among its actions. Those of the rule itself have lower ones.
pub const ERROR_ACTION: u32 = 1000;

/// The cursor that all actions at the head share.
const HEAD: &str = "rules";

/// What an action's cursor has passed, `read = matched + unmatched + failed` messages, and what became of the rows it
/// produced: `produced = delivered + dead_lettered + expired`, and those pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActionLedger {
    pub read: u64,
    pub matched: u64,
    pub unmatched: u64,
    pub failed: u64,
    pub produced: u64,
    pub delivered: u64,
    pub dead_lettered: u64,
    pub expired: u64,
}

impl AddAssign for ActionLedger {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.matched += other.matched;
        self.unmatched += other.unmatched;
        self.failed += other.failed;
        self.produced += other.produced;
        self.delivered += other.delivered;
        self.dead_lettered += other.dead_lettered;
        self.expired += other.expired;
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionProgress {
    pub rule: RuleName,
    /// The action's place in the rule, or [`ERROR_ACTION`].
    pub action: u32,
    /// The first offset that is not settled. `None`: at the head.
    pub position: Option<Offset>,
    pub ledger: ActionLedger,
}

/// A step. Ledgers are the values after it, not differences.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// `None`: the head has not moved.
    pub head: Option<Offset>,
    pub actions: Vec<ActionProgress>,
    pub dead_letters: Vec<NewDeadLetter>,
}

/// Where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SavedProgress {
    /// `None`: nothing was ever saved.
    pub head: Option<Offset>,
    pub actions: Vec<ActionProgress>,
}

impl Store {
    /// Saves a step, whole or not at all. Rules that do not exist (any more) are passed over.
    pub async fn commit_progress(&self, progress: Progress) -> Result<(), StoreError> {
        let options = self.options().clone();
        // Before the writer, so that its thread only writes.
        let arguments = progress
            .dead_letters
            .iter()
            .map(|letter| match &letter.kind {
                DeadLetterKind::Row(delivery) => dead_letter_arguments(delivery).map(Some),
                DeadLetterKind::Range { .. } => Ok(None),
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.write(move |connection| {
            if let Some(head) = progress.head {
                set_cursor(connection, HEAD, head)?;
            }
            save_actions(connection, &progress.actions)?;
            add_dead_letters(connection, &options, progress.dead_letters.iter().zip(&arguments))
        })
        .await
    }

    pub async fn progress(&self) -> Result<SavedProgress, StoreError> {
        self.read(|connection| {
            // One transaction, so that the two belong together.
            let snapshot = connection.unchecked_transaction()?;
            Ok(SavedProgress { head: get_cursor(&snapshot, HEAD)?, actions: load_actions(&snapshot)? })
        })
        .await
    }
}

fn save_actions(connection: &Connection, actions: &[ActionProgress]) -> Result<(), StoreError> {
    let mut save = connection.prepare_cached(
        "INSERT INTO action_progress (rule, action, position, read, matched, unmatched, failed, produced, delivered,
         dead_lettered, expired)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 WHERE EXISTS (SELECT 1 FROM rules WHERE name = ?1)
         ON CONFLICT DO UPDATE SET position = excluded.position, read = excluded.read, matched = excluded.matched,
         unmatched = excluded.unmatched, failed = excluded.failed, produced = excluded.produced,
         delivered = excluded.delivered, dead_lettered = excluded.dead_lettered, expired = excluded.expired",
    )?;
    for ActionProgress { rule, action, position, ledger } in actions {
        save.execute(params![
            rule.as_str(),
            action,
            position.map(|offset| offset.0.cast_signed()),
            ledger.read.cast_signed(),
            ledger.matched.cast_signed(),
            ledger.unmatched.cast_signed(),
            ledger.failed.cast_signed(),
            ledger.produced.cast_signed(),
            ledger.delivered.cast_signed(),
            ledger.dead_lettered.cast_signed(),
            ledger.expired.cast_signed()
        ])?;
    }
    Ok(())
}

fn load_actions(connection: &Connection) -> Result<Vec<ActionProgress>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT rule, action, position, read, matched, unmatched, failed, produced, delivered, dead_lettered, expired
         FROM action_progress ORDER BY rule, action",
    )?;
    let actions = select.query_map([], |row| {
        Ok(ActionProgress {
            rule: row::parsed(row, 0)?,
            action: row.get(1)?,
            position: row::optional_offset(row, 2)?,
            ledger: ActionLedger {
                read: row::unsigned(row, 3)?,
                matched: row::unsigned(row, 4)?,
                unmatched: row::unsigned(row, 5)?,
                failed: row::unsigned(row, 6)?,
                produced: row::unsigned(row, 7)?,
                delivered: row::unsigned(row, 8)?,
                dead_lettered: row::unsigned(row, 9)?,
                expired: row::unsigned(row, 10)?,
            },
        })
    })?;
    Ok(actions.collect::<Result<_, _>>()?)
}

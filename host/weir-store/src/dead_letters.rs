//! Dead letters: rows that could not be delivered, with the reason, to be read and sent again.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_core::{
    Offset, RuleName, Timestamp,
    seams::{Delivery, IdempotenceKey},
};

use crate::{Store, StoreError, StoreOptions, row};

/// Dead letters in one answer.
const MAX_LISTED: u32 = 1_000;

/// What could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterKind {
    /// One row, whole.
    Row(Delivery),
    /// Every row that the rule makes of the records from `from` up to and without `to`.
    Range { from: Offset, to: Offset },
}

#[derive(Debug, Clone)]
pub struct NewDeadLetter {
    pub rule: RuleName,
    pub action: u32,
    pub reason: String,
    pub created_at: Timestamp,
    pub kind: DeadLetterKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Grows; never used twice.
    pub id: i64,
    pub rule: RuleName,
    pub action: u32,
    pub reason: String,
    pub created_at: Timestamp,
    pub kind: DeadLetterKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterCount {
    pub rule: RuleName,
    pub kept: u64,
    /// How many were thrown away because there were too many (see [`StoreOptions`]).
    pub dropped: u64,
}

const SELECT: &str = "SELECT id, rule, action, reason, created_at, first_offset, end_offset, row, topic, product, \
                      device, accepted_at, qos, hop, arguments, failure, payload FROM dead_letters";

impl Store {
    /// The oldest first, after `after_id`; at most `limit` and 1,000.
    pub async fn dead_letters(
        &self,
        rule: Option<&RuleName>,
        after_id: i64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let (rule, limit) = (rule.cloned(), limit.min(MAX_LISTED));
        self.read(move |connection| match rule {
            Some(rule) => {
                let mut select =
                    connection.prepare_cached(&format!("{SELECT} WHERE rule = ?1 AND id > ?2 ORDER BY id LIMIT ?3"))?;
                let letters = select.query_map(params![rule.as_str(), after_id, limit], dead_letter)?;
                Ok(letters.collect::<Result<_, _>>()?)
            }
            None => {
                let mut select = connection.prepare_cached(&format!("{SELECT} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
                let letters = select.query_map(params![after_id, limit], dead_letter)?;
                Ok(letters.collect::<Result<_, _>>()?)
            }
        })
        .await
    }

    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
            Ok(select.query_row([id], dead_letter).optional()?)
        })
        .await
    }

    /// Says how many of them there were.
    pub async fn delete_dead_letters(&self, ids: &[i64]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            let mut deleted = 0;
            for id in ids {
                deleted += u64::from(delete(connection, id, 0)?);
            }
            // A rule without dead letters, kept or dropped, is not in the count.
            connection.prepare_cached("DELETE FROM dead_letter_totals WHERE kept = 0 AND dropped = 0")?.execute([])?;
            Ok(deleted)
        })
        .await
    }

    /// By rule, those that have or had some too many.
    pub async fn dead_letter_counts(&self) -> Result<Vec<DeadLetterCount>, StoreError> {
        self.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT rule, kept, dropped FROM dead_letter_totals ORDER BY rule")?;
            let counts = select.query_map([], |row| {
                Ok(DeadLetterCount {
                    rule: row::parsed(row, 0)?,
                    kept: row::unsigned(row, 1)?,
                    dropped: row::unsigned(row, 2)?,
                })
            })?;
            Ok(counts.collect::<Result<_, _>>()?)
        })
        .await
    }
}

pub(crate) fn dead_letter_arguments(delivery: &Delivery) -> Result<String, StoreError> {
    row::to_json(&delivery.arguments)
}

/// Adds dead letters, then throws the oldest away where a rule has too many.
pub(crate) fn add_dead_letters<'a>(
    connection: &Connection,
    options: &StoreOptions,
    letters: impl Iterator<Item = (&'a NewDeadLetter, &'a Option<String>)>,
) -> Result<(), StoreError> {
    let mut rules = BTreeSet::new();
    for (letter, arguments) in letters {
        let bytes = insert(connection, letter, arguments.as_deref())?;
        connection
            .prepare_cached(
                "INSERT INTO dead_letter_totals (rule, kept, bytes, dropped) VALUES (?1, 1, ?2, 0)
                 ON CONFLICT DO UPDATE SET kept = kept + 1, bytes = bytes + excluded.bytes",
            )?
            .execute(params![letter.rule.as_str(), bytes])?;
        rules.insert(&letter.rule);
    }
    for rule in rules {
        bound(connection, options, rule)?;
    }
    Ok(())
}

fn insert(connection: &Connection, letter: &NewDeadLetter, arguments: Option<&str>) -> Result<i64, StoreError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO dead_letters (rule, action, reason, created_at, bytes, first_offset, end_offset, row, topic,
         product, device, accepted_at, qos, hop, arguments, failure, payload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?;
    let (first, end, row) = match &letter.kind {
        DeadLetterKind::Row(delivery) => (delivery.key.offset, None, Some(delivery)),
        DeadLetterKind::Range { from, to } => (*from, Some(*to), None),
    };
    let payload = row.map(|delivery| delivery.payload.as_ref());
    let size = letter.reason.len()
        + arguments.map_or(0, str::len)
        + row.map_or(0, |delivery| delivery.payload.len() + delivery.topic.len());
    let bytes = i64::try_from(size).unwrap_or(i64::MAX);
    insert.execute(params![
        letter.rule.as_str(),
        letter.action,
        letter.reason,
        letter.created_at.0,
        bytes,
        first.0.cast_signed(),
        end.map(|offset| offset.0.cast_signed()),
        row.map(|delivery| delivery.key.row),
        row.map(|delivery| &delivery.topic),
        row.and_then(|delivery| delivery.product.as_deref()),
        row.and_then(|delivery| delivery.device.as_deref()),
        row.map(|delivery| delivery.accepted_at),
        row.map(|delivery| delivery.qos),
        row.map(|delivery| delivery.hop),
        arguments,
        row.and_then(|delivery| delivery.failure.as_deref()),
        payload
    ])?;
    Ok(bytes)
}

fn bound(connection: &Connection, options: &StoreOptions, rule: &RuleName) -> Result<(), StoreError> {
    let mut totals = connection.prepare_cached("SELECT kept, bytes FROM dead_letter_totals WHERE rule = ?1")?;
    let mut oldest = connection.prepare_cached("SELECT id FROM dead_letters WHERE rule = ?1 ORDER BY id LIMIT 1")?;
    loop {
        let (kept, bytes) =
            totals.query_row([rule.as_str()], |row| Ok((row::unsigned(row, 0)?, row::unsigned(row, 1)?)))?;
        if kept <= options.dead_letters_per_rule && bytes <= options.dead_letter_bytes_per_rule {
            return Ok(());
        }
        let Some(id) = oldest.query_row([rule.as_str()], |row| row.get(0)).optional()? else { return Ok(()) };
        delete(connection, id, 1)?;
    }
}

/// Deletes one and corrects the totals; `dropped` is added to those thrown away.
fn delete(connection: &Connection, id: i64, dropped: u32) -> Result<bool, StoreError> {
    let deleted: Option<(String, i64)> = connection
        .prepare_cached("DELETE FROM dead_letters WHERE id = ?1 RETURNING rule, bytes")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((rule, bytes)) = deleted else { return Ok(false) };
    connection
        .prepare_cached(
            "UPDATE dead_letter_totals SET kept = kept - 1, bytes = bytes - ?2, dropped = dropped + ?3
             WHERE rule = ?1",
        )?
        .execute(params![rule, bytes, dropped])?;
    Ok(true)
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let rule: RuleName = row::parsed(row, 1)?;
    let first = row::offset(row, 5)?;
    let kind = match row::optional_offset(row, 6)? {
        Some(to) => DeadLetterKind::Range { from: first, to },
        None => DeadLetterKind::Row(Delivery {
            key: IdempotenceKey { offset: first, rule: rule.clone(), row: row.get(7)? },
            topic: row.get(8)?,
            product: row.get(9)?,
            device: row.get(10)?,
            accepted_at: row.get(11)?,
            qos: row.get(12)?,
            hop: row.get(13)?,
            arguments: row::json(row, 14)?,
            failure: row.get(15)?,
            payload: row.get::<_, Vec<u8>>(16)?.into(),
        }),
    };
    Ok(DeadLetter {
        id: row.get(0)?,
        rule,
        action: row.get(2)?,
        reason: row.get(3)?,
        created_at: row::timestamp(row, 4)?,
        kind,
    })
}

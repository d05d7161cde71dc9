//! Broadcasts: a message that every device of a product gets, and how far it has come.
//!
//! A step is stored when its messages are durable. It is counted also if the broadcast was cancelled meanwhile, which then
//! goes no further.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use weir_core::{DeviceName, ProductId, Qos, Timestamp};

use crate::{Store, StoreError, row};

/// Broadcasts of one product that have ended and are still listed.
const REMEMBERED: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BroadcastId(pub i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BroadcastState {
    Running,
    /// Every device has it in the log.
    Done,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    pub id: BroadcastId,
    pub product: ProductId,
    /// Who asked for it.
    pub publisher: String,
    pub qos: Qos,
    pub payload: Vec<u8>,
    pub state: BroadcastState,
    /// Devices that the product had when it began.
    pub total: u64,
    /// Devices whose message is durable in the log.
    pub published: u64,
    /// The last of them, by name.
    pub position: Option<DeviceName>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub struct NewBroadcast {
    pub product: ProductId,
    pub publisher: String,
    pub qos: Qos,
    pub payload: Vec<u8>,
}

/// Messages that are durable.
#[derive(Debug, Clone)]
pub struct BroadcastStep {
    pub id: BroadcastId,
    /// The last device, by name; `None`: there was none left.
    pub position: Option<DeviceName>,
    pub published: u64,
    /// Whether there are no more devices.
    pub last: bool,
}

const SELECT: &str = "SELECT id, product, publisher, qos, payload, state, total, published, position, created_at,
     updated_at, ended_at FROM broadcasts";

impl Store {
    /// `Missing` if there is no such product, `Exists` if a broadcast to it is running, `TooMany` if more than `limit` would
    /// run in all.
    pub async fn create_broadcast(
        &self,
        new: NewBroadcast,
        limit: u32,
        now: Timestamp,
    ) -> Result<Broadcast, StoreError> {
        let product = new.product.clone();
        // Counting a large product takes a while, which the writer has not.
        let total = self.read(move |connection| crate::products::count_devices(connection, &product)).await?;
        self.write(move |connection| {
            let NewBroadcast { product, publisher, qos, payload } = new;
            if !connection.prepare_cached("SELECT 1 FROM products WHERE id = ?1")?.exists([product.as_str()])? {
                return Err(StoreError::missing("product", product));
            }
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO broadcasts (product, publisher, qos, payload, state, total, published, position,
                     created_at, updated_at) VALUES (?1, ?2, ?3, ?4, 'running', ?5, 0, '', ?6, ?6)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![product.as_str(), publisher, qos as u8, payload, total.cast_signed(), now.0])?;
            if inserted == 0 {
                return Err(StoreError::exists("running broadcast to product", product));
            }
            let id = connection.last_insert_rowid();
            let mut running = connection.prepare_cached("SELECT count(*) FROM broadcasts WHERE ended_at IS NULL")?;
            // An error takes the row back.
            if running.query_row([], |row| row.get::<_, u32>(0))? > limit {
                return Err(StoreError::TooMany { what: "running broadcasts", of: "the hub".to_owned(), limit });
            }
            connection
                .prepare_cached(
                    "DELETE FROM broadcasts WHERE product = ?1 AND ended_at IS NOT NULL AND id <= (
                         SELECT id FROM broadcasts WHERE product = ?1 AND ended_at IS NOT NULL
                         ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![product.as_str(), REMEMBERED])?;
            find(connection, &product, BroadcastId(id))
        })
        .await
    }

    /// `Missing` if the product has no such broadcast, or none any more.
    pub async fn broadcast(&self, product: &ProductId, id: BroadcastId) -> Result<Broadcast, StoreError> {
        let product = product.clone();
        self.read(move |connection| find(connection, &product, id)).await
    }

    /// Those of a product, the newest first.
    pub async fn broadcasts(&self, product: &ProductId) -> Result<Vec<Broadcast>, StoreError> {
        let product = product.clone();
        self.read(move |connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE product = ?1 ORDER BY id DESC"))?;
            Ok(select.query_map([product.as_str()], broadcast)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Those that run, the oldest first.
    pub async fn running_broadcasts(&self) -> Result<Vec<Broadcast>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE ended_at IS NULL ORDER BY id"))?;
            Ok(select.query_map([], broadcast)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Says whether the broadcast still runs: it may have ended with the step, or been cancelled before.
    pub async fn commit_broadcast(&self, step: BroadcastStep, now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let runs = connection
                .prepare_cached(
                    "UPDATE broadcasts SET published = published + ?2, position = coalesce(?3, position),
                     updated_at = ?4, state = iif(?5 AND ended_at IS NULL, 'done', state),
                     ended_at = iif(?5, coalesce(ended_at, ?4), ended_at)
                     WHERE id = ?1 RETURNING ended_at IS NULL",
                )?
                .query_row(
                    params![
                        step.id.0,
                        step.published.cast_signed(),
                        step.position.as_ref().map(DeviceName::as_str),
                        now.0,
                        step.last
                    ],
                    |row| row.get(0),
                )
                .optional()?;
            // It goes with its product.
            Ok(runs.unwrap_or(false))
        })
        .await
    }

    /// Ends a broadcast that runs; one that has ended stays as it is. Gives it as it then is.
    pub async fn cancel_broadcast(
        &self,
        product: &ProductId,
        id: BroadcastId,
        now: Timestamp,
    ) -> Result<Broadcast, StoreError> {
        let product = product.clone();
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "UPDATE broadcasts SET state = 'cancelled', updated_at = ?3, ended_at = ?3
                     WHERE id = ?2 AND product = ?1 AND ended_at IS NULL",
                )?
                .execute(params![product.as_str(), id.0, now.0])?;
            find(connection, &product, id)
        })
        .await
    }

    /// Names of a product's devices behind one of them, or from the first.
    pub async fn device_names(
        &self,
        product: &ProductId,
        behind: Option<&DeviceName>,
        limit: u32,
    ) -> Result<Vec<DeviceName>, StoreError> {
        let (product, behind) = (product.clone(), behind.cloned());
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT device FROM devices WHERE product = ?1 AND device > ?2 ORDER BY device LIMIT ?3",
            )?;
            // No name is empty.
            let behind = behind.as_ref().map_or("", DeviceName::as_str);
            let names = select.query_map(params![product.as_str(), behind, limit], |row| row::parsed(row, 0))?;
            Ok(names.collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn find(connection: &Connection, product: &ProductId, id: BroadcastId) -> Result<Broadcast, StoreError> {
    let mut select = connection.prepare_cached(&format!("{SELECT} WHERE product = ?1 AND id = ?2"))?;
    let found = select.query_row(params![product.as_str(), id.0], broadcast).optional()?;
    found.ok_or_else(|| StoreError::missing("broadcast", id.0))
}

fn broadcast(row: &Row<'_>) -> rusqlite::Result<Broadcast> {
    let unpositioned = row.get_ref(8)?.as_str().is_ok_and(str::is_empty);
    Ok(Broadcast {
        id: BroadcastId(row.get(0)?),
        product: row::parsed(row, 1)?,
        publisher: row.get(2)?,
        qos: Qos::from_u8(row.get(3)?).unwrap_or_default(),
        payload: row.get(4)?,
        state: row::word(row, 5)?,
        total: row::unsigned(row, 6)?,
        published: row::unsigned(row, 7)?,
        position: if unpositioned { None } else { Some(row::parsed(row, 8)?) },
        created_at: row::timestamp(row, 9)?,
        updated_at: row::timestamp(row, 10)?,
        ended_at: row.get::<_, Option<i64>>(11)?.map(Timestamp),
    })
}

//! Shadows and how far the log was applied to them: both change in one transaction, so that applying the log again from
//! the cursor makes what was made before.

use std::sync::Arc;

use rusqlite::{Connection, Row, ffi::SQLITE_CONSTRAINT_FOREIGNKEY, params};
use weir_core::{DeviceId, Offset, ShadowName, Timestamp, shadow::Encoded};

use crate::{
    Store, StoreError, row,
    snapshots::{get_cursor, set_cursor},
};

const CURSOR: &str = "shadows";

/// One shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowRow {
    pub device: DeviceId,
    /// `None`: the classic one.
    pub name: Option<ShadowName>,
    pub document: Encoded,
    pub version: u64,
    pub changed_at: Timestamp,
}

/// What changed since the step before.
#[derive(Debug, Clone, Default)]
pub struct ShadowStep {
    /// Every record below was applied.
    pub position: Offset,
    pub shadows: Vec<ShadowRow>,
    /// Devices whose shadows of before are gone.
    pub forgotten: Vec<DeviceId>,
}

impl Store {
    /// Saves a step, whole or not at all. Shadows of devices that do not exist (any more) are passed over. Cheapest in the
    /// order of their keys: neighbours share a page.
    pub async fn commit_shadows(&self, step: Arc<ShadowStep>) -> Result<(), StoreError> {
        self.write_alone(move |connection| {
            set_cursor(connection, CURSOR, step.position)?;
            // First, because a device may have been made again.
            let mut forget = connection.prepare_cached("DELETE FROM shadows WHERE product = ?1 AND device = ?2")?;
            for device in &step.forgotten {
                forget.execute([device.product.as_str(), device.device.as_str()])?;
            }
            save(connection, &step.shadows)
        })
        .await
    }

    /// How far the log was applied; `None`: not at all.
    pub async fn shadow_position(&self) -> Result<Option<Offset>, StoreError> {
        self.read(|connection| get_cursor(connection, CURSOR)).await
    }

    /// The shadows of each of these devices by name; `None` where there is no such device. Cheapest in the order of names.
    pub async fn shadows_of(&self, devices: Vec<DeviceId>) -> Result<Vec<Option<Vec<ShadowRow>>>, StoreError> {
        self.read(move |connection| {
            // One transaction, so that a device and its shadows belong together.
            let snapshot = connection.unchecked_transaction()?;
            load(&snapshot, &devices)
        })
        .await
    }
}

/// Two plain statements instead of an upsert: SQLite copies what a single row's UPDATE or INSERT changes nowhere before,
/// as it can fail only before it changes anything.
fn save(connection: &Connection, shadows: &[ShadowRow]) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached(
        "UPDATE shadows SET version = ?4, changed_at = ?5, reported = ?6, desired = ?7, metadata = ?8
         WHERE product = ?1 AND device = ?2 AND name = ?3",
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO shadows (product, device, name, version, changed_at, reported, desired, metadata)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for shadow in shadows {
        let values = params![
            shadow.device.product.as_str(),
            shadow.device.device.as_str(),
            shadow.name.as_ref().map_or("", ShadowName::as_str),
            shadow.version.cast_signed(),
            shadow.changed_at.0,
            shadow.document.reported,
            shadow.document.desired,
            shadow.document.metadata
        ];
        if update.execute(values)? == 0 {
            insert.execute(values).or_else(|error| if is_of_no_device(&error) { Ok(0) } else { Err(error) })?;
        }
    }
    Ok(())
}

fn is_of_no_device(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(error, _) if error.extended_code == SQLITE_CONSTRAINT_FOREIGNKEY)
}

fn load(connection: &Connection, devices: &[DeviceId]) -> Result<Vec<Option<Vec<ShadowRow>>>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT name, version, changed_at, reported, desired, metadata FROM shadows
         WHERE product = ?1 AND device = ?2 ORDER BY name",
    )?;
    let mut exists = connection.prepare_cached("SELECT 1 FROM devices WHERE product = ?1 AND device = ?2")?;
    let mut of_device = |device: &DeviceId| {
        let key = [device.product.as_str(), device.device.as_str()];
        let shadows: Vec<ShadowRow> = select.query_map(key, |row| shadow(row, device))?.collect::<Result<_, _>>()?;
        // One that has a shadow exists, and its row is on another page, which need not be read.
        let is_there = !shadows.is_empty() || exists.exists(key)?;
        Ok(is_there.then_some(shadows))
    };
    devices.iter().map(&mut of_device).collect()
}

fn shadow(row: &Row<'_>, device: &DeviceId) -> rusqlite::Result<ShadowRow> {
    let classic = row.get_ref(0)?.as_str().is_ok_and(str::is_empty);
    Ok(ShadowRow {
        device: device.clone(),
        name: if classic { None } else { Some(row::parsed(row, 0)?) },
        version: row::unsigned(row, 1)?,
        changed_at: row::timestamp(row, 2)?,
        document: Encoded { reported: row.get(3)?, desired: row.get(4)?, metadata: row.get(5)? },
    })
}

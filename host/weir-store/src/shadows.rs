//! Shadows and how far the log was applied to them: both change in one transaction, so that applying the log again from
//! the cursor makes what was made before.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
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
    /// Saves a step, whole or not at all. Shadows of devices that do not exist (any more) are passed over.
    pub async fn commit_shadows(&self, step: Arc<ShadowStep>) -> Result<(), StoreError> {
        self.write(move |connection| {
            set_cursor(connection, CURSOR, step.position)?;
            // First, because a device may have been made again.
            let mut forget = connection.prepare_cached("DELETE FROM shadows WHERE product = ?1 AND device = ?2")?;
            for device in &step.forgotten {
                forget.execute([device.product.as_str(), device.device.as_str()])?;
            }
            step.shadows.iter().try_for_each(|shadow| save(connection, shadow))
        })
        .await
    }

    /// How far the log was applied; `None`: not at all.
    pub async fn shadow_position(&self) -> Result<Option<Offset>, StoreError> {
        self.read(|connection| get_cursor(connection, CURSOR)).await
    }

    /// The shadows of each of these devices by name; `None` where there is no such device.
    pub async fn shadows_of(&self, devices: Vec<DeviceId>) -> Result<Vec<Option<Vec<ShadowRow>>>, StoreError> {
        self.read(move |connection| {
            // One transaction, so that a device and its shadows belong together.
            let snapshot = connection.unchecked_transaction()?;
            devices.iter().map(|device| load(&snapshot, device)).collect()
        })
        .await
    }
}

fn save(connection: &Connection, shadow: &ShadowRow) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO shadows (product, device, name, version, changed_at, reported, desired, metadata)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
             WHERE EXISTS (SELECT 1 FROM devices WHERE product = ?1 AND device = ?2)
             ON CONFLICT (product, device, name) DO UPDATE SET version = excluded.version,
             changed_at = excluded.changed_at, reported = excluded.reported, desired = excluded.desired,
             metadata = excluded.metadata",
        )?
        .execute(params![
            shadow.device.product.as_str(),
            shadow.device.device.as_str(),
            shadow.name.as_ref().map_or("", ShadowName::as_str),
            shadow.version.cast_signed(),
            shadow.changed_at.0,
            shadow.document.reported,
            shadow.document.desired,
            shadow.document.metadata
        ])?;
    Ok(())
}

fn load(connection: &Connection, device: &DeviceId) -> Result<Option<Vec<ShadowRow>>, StoreError> {
    let key = [device.product.as_str(), device.device.as_str()];
    let mut exists = connection.prepare_cached("SELECT 1 FROM devices WHERE product = ?1 AND device = ?2")?;
    if exists.query_row(key, |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let mut select = connection.prepare_cached(
        "SELECT name, version, changed_at, reported, desired, metadata FROM shadows
         WHERE product = ?1 AND device = ?2 ORDER BY name",
    )?;
    let shadows = select.query_map(key, |row| {
        let classic = row.get_ref(0)?.as_str().is_ok_and(str::is_empty);
        Ok(ShadowRow {
            device: device.clone(),
            name: if classic { None } else { Some(row::parsed(row, 0)?) },
            version: row::unsigned(row, 1)?,
            changed_at: row::timestamp(row, 2)?,
            document: Encoded { reported: row.get(3)?, desired: row.get(4)?, metadata: row.get(5)? },
        })
    })?;
    Ok(Some(shadows.collect::<Result<_, _>>()?))
}

//! Devices and their keys.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_core::{DeviceId, ProductId, ProductType, Timestamp};

use crate::{Store, StoreError, certificates, credential, products::count_devices, row, vault::Vault};

/// Bytes of a device key that the store makes (vendor protocol §1: typically 16).
const PSK_BYTES: usize = 16;

/// Bytes of a device key that a user brings (vendor protocol §1: at most 64 characters of base64).
const MAX_PSK_BYTES: usize = 48;

#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    pub id: DeviceId,
    /// The key itself, not its base64 text.
    pub psk: Vec<u8>,
    pub enabled: bool,
    /// Whether the devices of its product may connect at all.
    pub product_enabled: bool,
    /// Its product's: whether it is a gateway.
    pub kind: ProductType,
    /// When it connected for the first time, or for the first time since that was forgotten.
    pub activated_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl Device {
    /// Whether it may connect: it and its product are enabled.
    pub fn may_connect(&self) -> bool {
        self.enabled && self.product_enabled
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("id", &self.id)
            .field("psk", &"***")
            .field("enabled", &self.enabled)
            .field("product_enabled", &self.product_enabled)
            .field("kind", &self.kind)
            .field("activated_at", &self.activated_at)
            .field("created_at", &self.created_at)
            .finish()
    }
}

/// A device as it is stored.
struct Sealed {
    id: DeviceId,
    psk: Vec<u8>,
    enabled: bool,
    product_enabled: bool,
    kind: ProductType,
    activated_at: Option<i64>,
    created_at: Timestamp,
}

const SELECT: &str = "SELECT product, device, psk, devices.enabled, products.enabled, products.type, activated_at,
            devices.created_at
     FROM devices JOIN products ON products.id = devices.product";

impl Store {
    /// Without `psk` the store makes a key. `Missing` if there is no such product, `Exists` if the name is taken.
    pub async fn create_device(
        &self,
        id: &DeviceId,
        psk: Option<Vec<u8>>,
        now: Timestamp,
    ) -> Result<Device, StoreError> {
        let psk = match psk {
            Some(psk) if psk.len() > MAX_PSK_BYTES => {
                return Err(StoreError::TooLarge { what: "a device key", size: psk.len(), limit: MAX_PSK_BYTES });
            }
            Some(psk) => psk,
            None => random_psk()?,
        };
        let sealed = self.vault().seal(&psk_name(id), &psk)?;
        let mut device = Device {
            id: id.clone(),
            psk,
            enabled: true,
            product_enabled: true,
            kind: ProductType::Device,
            activated_at: None,
            created_at: now,
        };
        self.write(move |connection| {
            (device.product_enabled, device.kind) = of_product(connection, &device.id.product)?;
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO devices (product, device, psk, enabled, created_at) VALUES (?1, ?2, ?3, 1, ?4)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![device.id.product.as_str(), device.id.device.as_str(), sealed, now.0])?;
            if inserted == 1 { Ok(device) } else { Err(StoreError::exists("device", device.id)) }
        })
        .await
    }

    /// Short: on the caller's thread.
    pub fn device(&self, id: &DeviceId) -> Result<Option<Device>, StoreError> {
        let found = self.point(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE product = ?1 AND device = ?2"))?;
            Ok(select.query_row([id.product.as_str(), id.device.as_str()], sealed).optional()?)
        })?;
        found.map(|device| unseal(&self.vault(), device)).transpose()
    }

    /// Devices of a product by name, from the `offset`-th, and how many there are in all.
    pub async fn devices(
        &self,
        product: &ProductId,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<Device>, u64), StoreError> {
        let (product, vault) = (product.clone(), self.vault());
        self.read(move |connection| {
            let mut select = connection
                .prepare_cached(&format!("{SELECT} WHERE product = ?1 ORDER BY device LIMIT ?2 OFFSET ?3"))?;
            // Beyond what SQLite counts there is nothing, so the largest it takes says the same.
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            let devices = select
                .query_map(params![product.as_str(), limit, offset], sealed)?
                .map(|device| unseal(&vault, device?))
                .collect::<Result<_, _>>()?;
            Ok((devices, count_devices(connection, &product)?))
        })
        .await
    }

    /// Its tokens, pins and bindings go with it, and the certificates that the hub issued to it are revoked.
    pub async fn delete_device(&self, id: &DeviceId, now: Timestamp) -> Result<(), StoreError> {
        self.change_device(id, move |id, connection| {
            certificates::revoke_all(connection, id, now)?;
            connection
                .prepare_cached("DELETE FROM devices WHERE product = ?1 AND device = ?2")?
                .execute([id.product.as_str(), id.device.as_str()])
        })
        .await
    }

    pub async fn set_device_enabled(&self, id: &DeviceId, enabled: bool) -> Result<(), StoreError> {
        self.change_device(id, move |id, connection| {
            connection
                .prepare_cached("UPDATE devices SET enabled = ?3 WHERE product = ?1 AND device = ?2")?
                .execute(params![id.product.as_str(), id.device.as_str(), enabled])
        })
        .await
    }

    /// Devices have connected. For those that had before, or are gone, nothing changes.
    pub async fn activate_devices(&self, ids: Vec<DeviceId>, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| {
            let mut update = connection.prepare_cached(
                "UPDATE devices SET activated_at = ?3 WHERE product = ?1 AND device = ?2 AND activated_at IS NULL",
            )?;
            for id in &ids {
                update.execute(params![id.product.as_str(), id.device.as_str(), now.0])?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets that a device has connected.
    pub async fn deactivate_device(&self, id: &DeviceId) -> Result<(), StoreError> {
        self.change_device(id, |id, connection| {
            connection
                .prepare_cached("UPDATE devices SET activated_at = NULL WHERE product = ?1 AND device = ?2")?
                .execute([id.product.as_str(), id.device.as_str()])
        })
        .await
    }

    async fn change_device(
        &self,
        id: &DeviceId,
        change: impl FnOnce(&DeviceId, &Connection) -> rusqlite::Result<usize> + Send + 'static,
    ) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |connection| match change(&id, connection)? {
            0 => Err(StoreError::missing("device", id)),
            _ => Ok(()),
        })
        .await
    }
}

/// What a device has of its product: whether it may connect at all, and whether it is a gateway.
pub(crate) fn of_product(connection: &Connection, product: &ProductId) -> Result<(bool, ProductType), StoreError> {
    let mut find = connection.prepare_cached("SELECT enabled, type FROM products WHERE id = ?1")?;
    let found = find.query_row([product.as_str()], |row| Ok((row.get(0)?, row::parsed(row, 1)?))).optional()?;
    found.ok_or_else(|| StoreError::missing("product", product))
}

pub(crate) fn random_psk() -> Result<Vec<u8>, StoreError> {
    Ok(credential::random::<PSK_BYTES>()?.to_vec())
}

fn sealed(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    Ok(Sealed {
        id: DeviceId { product: row::parsed(row, 0)?, device: row::parsed(row, 1)? },
        psk: row.get(2)?,
        enabled: row.get(3)?,
        product_enabled: row.get(4)?,
        kind: row::parsed(row, 5)?,
        activated_at: row.get(6)?,
        created_at: row::timestamp(row, 7)?,
    })
}

fn unseal(vault: &Vault, sealed: Sealed) -> Result<Device, StoreError> {
    let Sealed { id, psk, enabled, product_enabled, kind, activated_at, created_at } = sealed;
    let (psk, activated_at) = (vault.unseal(&psk_name(&id), &psk)?, activated_at.map(Timestamp));
    Ok(Device { id, psk, enabled, product_enabled, kind, activated_at, created_at })
}

pub(crate) fn psk_name(id: &DeviceId) -> String {
    format!("psk {id}")
}

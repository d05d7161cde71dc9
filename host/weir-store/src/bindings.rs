//! Which devices are behind which gateway. A device has at most one.

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_core::{DeviceId, ProductId, ProductType, Timestamp};

use crate::{Store, StoreError, row};

/// Signatures of one device that are remembered at a time.
const SIGNATURES_PER_DEVICE: u64 = 64;

/// A device that is bound to a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub device: DeviceId,
    pub gateway: DeviceId,
    pub bound_at: Timestamp,
    /// Whether the device and its product are enabled.
    pub may_connect: bool,
}

/// A device to be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBinding {
    pub device: DeviceId,
    /// What its signature says, so that it serves once; `None`: an administrator binds it.
    pub signature: Option<UsedSignature>,
}

/// What makes one signature different from another of the same device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedSignature {
    pub random: i64,
    /// Seconds.
    pub timestamp: i64,
}

/// Bounds of binding.
#[derive(Debug, Clone, Copy)]
pub struct BindLimits {
    /// Devices behind one gateway.
    pub devices: u64,
    /// Products of the devices behind all gateways of one product.
    pub products: u64,
    /// Signatures of before this second are refused by their age and need not be remembered.
    pub signatures_from: i64,
}

/// What became of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Done,
    /// To this gateway, before.
    Already,
    /// To another one.
    Elsewhere,
    NoDevice,
    /// It is a gateway itself.
    NoSubDevice,
    /// Its signature has served before.
    Used,
    /// The gateway has as many as it may.
    Full,
    /// The gateways of its product have devices of as many products as they may.
    TooManyProducts,
}

impl Store {
    /// Binds devices to a gateway, in one transaction. With `all`, either every one is or none. `Missing` if there is no
    /// such gateway, `NotGateway` if it is none.
    pub async fn bind(
        &self,
        gateway: &DeviceId,
        devices: Vec<NewBinding>,
        all: bool,
        limits: BindLimits,
        now: Timestamp,
    ) -> Result<Vec<Bound>, StoreError> {
        let gateway = gateway.clone();
        self.write(move |connection| {
            match type_of(connection, &gateway)? {
                None => return Err(StoreError::missing("device", &gateway)),
                Some(ProductType::Device) => return Err(StoreError::NotGateway(gateway.to_string())),
                Some(ProductType::Gateway) => {}
            }
            let mut bound = Vec::with_capacity(devices.len());
            for device in &devices {
                let outcome = bind(connection, &gateway, device, limits, now)?;
                if all && outcome != Bound::Done && outcome != Bound::Already {
                    // An error takes the others back.
                    return Err(refusal(outcome, &gateway, &device.device, limits));
                }
                bound.push(outcome);
            }
            Ok(bound)
        })
        .await
    }

    /// Says for each whether it was bound to this gateway.
    pub async fn unbind(&self, gateway: &DeviceId, devices: Vec<DeviceId>) -> Result<Vec<bool>, StoreError> {
        let gateway = gateway.clone();
        self.write(move |connection| {
            let mut delete = connection.prepare_cached(
                "DELETE FROM bindings
                 WHERE product = ?1 AND device = ?2 AND gateway_product = ?3 AND gateway_device = ?4",
            )?;
            let (product, name) = (gateway.product.as_str(), gateway.device.as_str());
            let deleted = devices
                .iter()
                .map(|device| delete.execute(params![device.product.as_str(), device.device.as_str(), product, name]));
            Ok(deleted.map(|rows| rows.map(|rows| rows > 0)).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The gateway of a device, if it has one. Short: on the caller's thread.
    pub fn binding(&self, device: &DeviceId) -> Result<Option<Binding>, StoreError> {
        self.point(|connection| {
            let mut select =
                connection.prepare_cached(&format!("{SELECT} WHERE bindings.product = ?1 AND bindings.device = ?2"))?;
            Ok(select.query_row([device.product.as_str(), device.device.as_str()], binding).optional()?)
        })
    }

    /// Devices of a gateway, those of one product or all, from the `offset`-th, and how many there are.
    pub async fn bindings(
        &self,
        gateway: &DeviceId,
        product: Option<&ProductId>,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<Binding>, u64), StoreError> {
        const OF: &str = "WHERE gateway_product = ?1 AND gateway_device = ?2
                          AND (?3 IS NULL OR bindings.product = ?3)";
        let (gateway, product) = (gateway.clone(), product.cloned());
        self.read(move |connection| {
            let of = (gateway.product.as_str(), gateway.device.as_str(), product.as_ref().map(ProductId::as_str));
            let mut select = connection.prepare_cached(&format!(
                "{SELECT} {OF} ORDER BY bindings.product, bindings.device LIMIT ?4 OFFSET ?5"
            ))?;
            // Beyond what SQLite counts there is nothing, so the largest it takes says the same.
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            let found =
                select.query_map(params![of.0, of.1, of.2, limit, offset], binding)?.collect::<Result<Vec<_>, _>>()?;
            let mut count = connection.prepare_cached(&format!("SELECT count(*) FROM bindings {OF}"))?;
            Ok((found, count.query_row(of, |row| row::unsigned(row, 0))?))
        })
        .await
    }
}

const SELECT: &str = "SELECT bindings.product, bindings.device, gateway_product, gateway_device, bound_at,
            devices.enabled AND products.enabled
     FROM bindings
     JOIN devices ON devices.product = bindings.product AND devices.device = bindings.device
     JOIN products ON products.id = bindings.product";

fn binding(row: &Row<'_>) -> rusqlite::Result<Binding> {
    Ok(Binding {
        device: DeviceId { product: row::parsed(row, 0)?, device: row::parsed(row, 1)? },
        gateway: DeviceId { product: row::parsed(row, 2)?, device: row::parsed(row, 3)? },
        bound_at: row::timestamp(row, 4)?,
        may_connect: row.get(5)?,
    })
}

fn bind(
    connection: &Connection,
    gateway: &DeviceId,
    NewBinding { device, signature }: &NewBinding,
    limits: BindLimits,
    now: Timestamp,
) -> Result<Bound, StoreError> {
    match type_of(connection, device)? {
        None => return Ok(Bound::NoDevice),
        Some(ProductType::Gateway) => return Ok(Bound::NoSubDevice),
        Some(ProductType::Device) => {}
    }
    let (product, name) = (device.product.as_str(), device.device.as_str());
    let mut find = connection
        .prepare_cached("SELECT gateway_product, gateway_device FROM bindings WHERE product = ?1 AND device = ?2")?;
    let found = find
        .query_row([product, name], |row| Ok(DeviceId { product: row::parsed(row, 0)?, device: row::parsed(row, 1)? }))
        .optional()?;
    match found {
        Some(other) if other == *gateway => return Ok(Bound::Already),
        Some(_) => return Ok(Bound::Elsewhere),
        None => {}
    }
    let mut count = connection
        .prepare_cached("SELECT count(*) FROM bindings WHERE gateway_product = ?1 AND gateway_device = ?2")?;
    let of = [gateway.product.as_str(), gateway.device.as_str()];
    if count.query_row(of, |row| row::unsigned(row, 0))? >= limits.devices {
        return Ok(Bound::Full);
    }
    if products_with(connection, &gateway.product, &device.product)? > limits.products {
        return Ok(Bound::TooManyProducts);
    }
    if let Some(signature) = signature
        && !use_signature(connection, device, *signature, limits)?
    {
        return Ok(Bound::Used);
    }
    connection
        .prepare_cached(
            "INSERT INTO bindings (product, device, gateway_product, gateway_device, bound_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![product, name, of[0], of[1], now.0])?;
    Ok(Bound::Done)
}

/// The products of devices that are bound to gateways of one product, if one more were.
fn products_with(connection: &Connection, gateways: &ProductId, another: &ProductId) -> Result<u64, StoreError> {
    let mut count = connection.prepare_cached(
        "SELECT count(*) FROM products WHERE id = ?2 OR EXISTS
         (SELECT 1 FROM bindings WHERE bindings.product = products.id AND gateway_product = ?1)",
    )?;
    Ok(count.query_row([gateways.as_str(), another.as_str()], |row| row::unsigned(row, 0))?)
}

/// Remembers a signature. Says whether it had not served before; nor does one when too many are remembered.
fn use_signature(
    connection: &Connection,
    device: &DeviceId,
    UsedSignature { random, timestamp }: UsedSignature,
    limits: BindLimits,
) -> Result<bool, StoreError> {
    let (product, name) = (device.product.as_str(), device.device.as_str());
    connection
        .prepare_cached("DELETE FROM bind_signatures WHERE product = ?1 AND device = ?2 AND timestamp < ?3")?
        .execute(params![product, name, limits.signatures_from])?;
    let mut count =
        connection.prepare_cached("SELECT count(*) FROM bind_signatures WHERE product = ?1 AND device = ?2")?;
    if count.query_row([product, name], |row| row::unsigned(row, 0))? >= SIGNATURES_PER_DEVICE {
        return Ok(false);
    }
    let inserted = connection
        .prepare_cached(
            "INSERT INTO bind_signatures (product, device, random, timestamp) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![product, name, random, timestamp])?;
    Ok(inserted == 1)
}

fn type_of(connection: &Connection, device: &DeviceId) -> Result<Option<ProductType>, StoreError> {
    let mut find = connection.prepare_cached(
        "SELECT type FROM devices JOIN products ON products.id = devices.product WHERE product = ?1 AND device = ?2",
    )?;
    let of = [device.product.as_str(), device.device.as_str()];
    Ok(find.query_row(of, |row| row::parsed(row, 0)).optional()?)
}

fn refusal(outcome: Bound, gateway: &DeviceId, device: &DeviceId, limits: BindLimits) -> StoreError {
    match outcome {
        Bound::NoDevice => StoreError::missing("device", device),
        Bound::NoSubDevice => StoreError::IsGateway(device.to_string()),
        Bound::Elsewhere => StoreError::BoundElsewhere(device.to_string()),
        Bound::Full => StoreError::TooMany {
            what: "bound devices",
            of: format!("gateway {gateway}"),
            limit: u32::try_from(limits.devices).unwrap_or(u32::MAX),
        },
        Bound::TooManyProducts => StoreError::TooMany {
            what: "products of bound devices",
            of: format!("product {} of gateways", gateway.product),
            limit: u32::try_from(limits.products).unwrap_or(u32::MAX),
        },
        Bound::Done | Bound::Already | Bound::Used => StoreError::Failed(format!("device {device} cannot be bound")),
    }
}

//! Single certificates: those that the hub issued, those that are pinned to a device, and those that were revoked.

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_core::{DeviceId, Fingerprint, ProductId, Serial, Timestamp};

use crate::{Store, StoreError, row};

/// Certificates of the hub that one device may have: neither expired nor revoked.
pub const CERTIFICATES_PER_DEVICE: u32 = 32;

/// Certificates that may be pinned to one device.
pub const PINS_PER_DEVICE: u32 = 16;

/// Certificates that may be revoked at a time: those that the hub issued are forgotten some time after they expire.
pub const REVOCATIONS: u32 = 1_000_000;

/// How long an expired certificate is still listed.
const REMEMBERED: i64 = 30 * 86_400_000;

/// A certificate that the hub issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedRow {
    pub device: DeviceId,
    pub fingerprint: Fingerprint,
    pub serial: Serial,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
}

/// A certificate that the hub knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    pub device: DeviceId,
    pub fingerprint: Fingerprint,
    /// Its number and its end, if the hub issued it.
    pub issued: Option<(Serial, Timestamp)>,
    pub pinned: bool,
    pub revoked_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// How a certificate is named to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateName {
    Fingerprint(Fingerprint),
    /// Of the hub's own authority.
    Serial(Serial),
}

/// One row for each certificate, whether it was issued, pinned or both.
const SELECT: &str = "
    SELECT product, device, fingerprint, max(serial), max(expires_at), max(pinned), max(revocations.created_at),
           min(known.created_at)
    FROM (
        SELECT product, device, fingerprint, serial, expires_at, 0 AS pinned, created_at FROM certificates
        UNION ALL SELECT product, device, fingerprint, NULL, NULL, 1, created_at FROM pins
    ) AS known LEFT JOIN revocations USING (fingerprint)";

impl Store {
    /// Keeps what was issued, before anybody has it.
    pub async fn record_certificate(&self, issued: IssuedRow) -> Result<(), StoreError> {
        self.write(move |connection| {
            let (product, device) = known(connection, &issued.device)?;
            let now = issued.created_at.0;
            forget(connection, now)?;
            let count: u32 = connection
                .prepare_cached(
                    "SELECT count(*) FROM certificates WHERE product = ?1 AND device = ?2 AND expires_at > ?3
                     AND fingerprint NOT IN (SELECT fingerprint FROM revocations)",
                )?
                .query_row(params![product, device, now], |row| row.get(0))?;
            bounded(count, CERTIFICATES_PER_DEVICE, "certificates", || format!("device {}", issued.device))?;
            connection
                .prepare_cached(
                    "INSERT INTO certificates (fingerprint, serial, product, device, expires_at, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    issued.fingerprint.as_bytes(),
                    issued.serial.as_bytes(),
                    product,
                    device,
                    issued.expires_at.0,
                    now
                ])?;
            Ok(())
        })
        .await
    }

    /// Certificates of a product, or of one device of it, by device and age, from the `offset`-th, and how many there are.
    pub async fn certificates(
        &self,
        product: &ProductId,
        device: Option<&DeviceId>,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<CertificateRow>, u64), StoreError> {
        let (product, device) = (product.clone(), device.map(|id| id.device.clone()));
        self.read(move |connection| {
            let device = device.as_ref().map(|device| device.as_str());
            let known = format!(
                "{SELECT} WHERE product = ?1 AND (?2 IS NULL OR device = ?2) GROUP BY product, device, fingerprint"
            );
            let count = format!("SELECT count(*) FROM ({known})");
            let total = connection
                .prepare_cached(&count)?
                .query_row(params![product.as_str(), device], |row| row::unsigned(row, 0))?;
            let page = format!("{known} ORDER BY device, min(known.created_at), fingerprint LIMIT ?3 OFFSET ?4");
            // Beyond what SQLite counts there is nothing, so the largest it takes says the same.
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            let rows = connection
                .prepare_cached(&page)?
                .query_map(params![product.as_str(), device, limit, offset], certificate)?
                .collect::<Result<_, _>>()?;
            Ok((rows, total))
        })
        .await
    }

    /// Pins a certificate to a device. `Exists` if it is pinned already, to whichever.
    pub async fn create_pin(&self, id: &DeviceId, pin: Fingerprint, now: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |connection| {
            let (product, device) = known(connection, &id)?;
            let count: u32 = connection
                .prepare_cached("SELECT count(*) FROM pins WHERE product = ?1 AND device = ?2")?
                .query_row([product, device], |row| row.get(0))?;
            bounded(count, PINS_PER_DEVICE, "pins", || format!("device {id}"))?;
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO pins (fingerprint, product, device, created_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![pin.as_bytes(), product, device, now.0])?;
            if inserted == 1 { Ok(()) } else { Err(StoreError::exists("pin", pin)) }
        })
        .await
    }

    pub async fn delete_pin(&self, id: &DeviceId, pin: &Fingerprint) -> Result<(), StoreError> {
        let (id, pin) = (id.clone(), *pin);
        self.write(move |connection| {
            let deleted = connection
                .prepare_cached("DELETE FROM pins WHERE fingerprint = ?1 AND product = ?2 AND device = ?3")?
                .execute(params![pin.as_bytes(), id.product.as_str(), id.device.as_str()])?;
            if deleted == 1 { Ok(()) } else { Err(StoreError::missing("pin", pin)) }
        })
        .await
    }

    /// The device that a certificate is pinned to. Short: on the caller's thread.
    pub fn pin(&self, certificate: &Fingerprint) -> Result<Option<DeviceId>, StoreError> {
        self.point(|connection| {
            let mut select = connection.prepare_cached("SELECT product, device FROM pins WHERE fingerprint = ?1")?;
            let device = |row: &Row<'_>| Ok(DeviceId { product: row::parsed(row, 0)?, device: row::parsed(row, 1)? });
            Ok(select.query_row([certificate.as_bytes()], device).optional()?)
        })
    }

    /// Whether any certificate is pinned to the device. Short: on the caller's thread.
    pub fn has_pins(&self, device: &DeviceId) -> Result<bool, StoreError> {
        self.point(|connection| {
            let mut find = connection.prepare_cached("SELECT 1 FROM pins WHERE product = ?1 AND device = ?2")?;
            Ok(find.exists([device.product.as_str(), device.device.as_str()])?)
        })
    }

    /// Revokes a certificate, for ever, and says which it is. One that the hub does not know can be revoked by its
    /// fingerprint. A second time changes nothing. `IsAuthority` if a product registered it: what it signed is believed for
    /// as long as it is registered.
    pub async fn revoke_certificate(&self, name: CertificateName, now: Timestamp) -> Result<Fingerprint, StoreError> {
        self.write(move |connection| {
            let fingerprint = match name {
                CertificateName::Fingerprint(fingerprint) => fingerprint,
                CertificateName::Serial(serial) => {
                    let mut find =
                        connection.prepare_cached("SELECT fingerprint FROM certificates WHERE serial = ?1")?;
                    let found = find.query_row([serial.as_bytes()], |row| row::fingerprint(row, 0)).optional()?;
                    found.ok_or_else(|| StoreError::missing("certificate of the hub with the number", serial))?
                }
            };
            let mut authority = connection.prepare_cached("SELECT product FROM authorities WHERE fingerprint = ?1")?;
            if let Some(product) = authority.query_row([fingerprint.as_bytes()], |row| row.get(0)).optional()? {
                return Err(StoreError::IsAuthority { fingerprint, product });
            }
            let count: u32 =
                connection.prepare_cached("SELECT count(*) FROM revocations")?.query_row([], |row| row.get(0))?;
            bounded(count, REVOCATIONS, "revocations", || "the hub".to_owned())?;
            connection
                .prepare_cached(
                    "INSERT INTO revocations (fingerprint, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                )?
                .execute(params![fingerprint.as_bytes(), now.0])?;
            Ok(fingerprint)
        })
        .await
    }

    /// Short: on the caller's thread.
    pub fn is_revoked(&self, certificate: &Fingerprint) -> Result<bool, StoreError> {
        self.point(|connection| {
            let mut find = connection.prepare_cached("SELECT 1 FROM revocations WHERE fingerprint = ?1")?;
            Ok(find.exists([certificate.as_bytes()])?)
        })
    }
}

/// Revokes what the hub issued to a device that is about to be deleted: one made later with its name is another.
pub(crate) fn revoke_all(connection: &Connection, device: &DeviceId, now: Timestamp) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO revocations (fingerprint, created_at)
             SELECT fingerprint, ?3 FROM certificates WHERE product = ?1 AND device = ?2
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![device.product.as_str(), device.device.as_str(), now.0])
}

/// Forgets certificates that expired long ago: nobody is let in by them, revoked or not.
fn forget(connection: &Connection, now: i64) -> Result<(), StoreError> {
    let before = now.saturating_sub(REMEMBERED);
    let old = "SELECT fingerprint FROM certificates WHERE expires_at < ?1";
    connection.prepare_cached(&format!("DELETE FROM revocations WHERE fingerprint IN ({old})"))?.execute([before])?;
    connection.prepare_cached("DELETE FROM certificates WHERE expires_at < ?1")?.execute([before])?;
    Ok(())
}

fn known<'a>(connection: &Connection, id: &'a DeviceId) -> Result<(&'a str, &'a str), StoreError> {
    let names = (id.product.as_str(), id.device.as_str());
    let mut find = connection.prepare_cached("SELECT 1 FROM devices WHERE product = ?1 AND device = ?2")?;
    if find.exists([names.0, names.1])? { Ok(names) } else { Err(StoreError::missing("device", id)) }
}

pub(crate) fn bounded(
    count: u32,
    limit: u32,
    what: &'static str,
    of: impl FnOnce() -> String,
) -> Result<(), StoreError> {
    if count < limit { Ok(()) } else { Err(StoreError::TooMany { what, of: of(), limit }) }
}

fn certificate(row: &Row<'_>) -> rusqlite::Result<CertificateRow> {
    let serial: Option<Vec<u8>> = row.get(3)?;
    let expires_at: Option<i64> = row.get(4)?;
    let revoked_at: Option<i64> = row.get(6)?;
    Ok(CertificateRow {
        device: DeviceId { product: row::parsed(row, 0)?, device: row::parsed(row, 1)? },
        fingerprint: row::fingerprint(row, 2)?,
        issued: serial.zip(expires_at).map(|(serial, at)| (Serial::new(&serial), Timestamp(at))),
        pinned: row.get(5)?,
        revoked_at: revoked_at.map(Timestamp),
        created_at: row::timestamp(row, 7)?,
    })
}

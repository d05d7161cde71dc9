//! Dynamic registration: which products let devices register themselves, by what secret, and the devices it made.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use weir_core::{DeviceId, ProductId, Timestamp};

use crate::{Device, Store, StoreError, credential, devices, row, vault::Vault};

/// Random bytes of a secret that the store makes: 24 characters of base64, as the vendor's are.
const SECRET_BYTES: usize = 18;

/// Devices that registration may make where nobody says.
const LIMIT: u32 = 1_000;

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Nobody.
    Off,
    /// Devices that were made and have never connected.
    Existing,
    /// Those, and devices that nobody has made yet.
    Any,
}

/// What a device is given when it registers and does not say what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationCredential {
    Key,
    Certificate,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    pub mode: RegistrationMode,
    pub credential: RegistrationCredential,
    /// Devices that registration may make.
    pub limit: u32,
    /// Devices that it made and that are there.
    pub registered: u32,
    /// What the product's devices share.
    pub secret: String,
}

/// What is to become of a product's registration. `None` leaves what there is.
#[derive(Clone, Default)]
pub struct RegistrationChange {
    pub mode: Option<RegistrationMode>,
    pub credential: Option<RegistrationCredential>,
    pub limit: Option<u32>,
    pub secret: SecretChange,
}

#[derive(Clone, Default)]
pub enum SecretChange {
    /// Where there is none, one is made.
    #[default]
    Keep,
    New,
    Given(String),
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("mode", &self.mode)
            .field("credential", &self.credential)
            .field("limit", &self.limit)
            .field("registered", &self.registered)
            .field("secret", &"***")
            .finish()
    }
}

impl fmt::Debug for RegistrationChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationChange")
            .field("mode", &self.mode)
            .field("credential", &self.credential)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SecretChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "Keep",
            Self::New => "New",
            Self::Given(_) => "Given(***)",
        })
    }
}

const SELECT: &str = "SELECT mode, credential, device_limit, registered, secret FROM registrations WHERE product = ?1";

impl Store {
    /// `None`: nothing was ever said of it, so nobody may register. Short: on the caller's thread.
    pub fn registration(&self, product: &ProductId) -> Result<Option<Registration>, StoreError> {
        let found = self.point(|connection| {
            let mut select = connection.prepare_cached(SELECT)?;
            Ok(select.query_row([product.as_str()], sealed).optional()?)
        })?;
        found.map(|found| unseal(&self.vault(), product, found)).transpose()
    }

    /// `Missing` if there is no such product. Gives what is in force now.
    pub async fn change_registration(
        &self,
        product: &ProductId,
        change: RegistrationChange,
    ) -> Result<Registration, StoreError> {
        let RegistrationChange { mode, credential, limit, secret } = change;
        let replaces = !matches!(secret, SecretChange::Keep);
        let secret = match secret {
            SecretChange::Given(secret) => secret,
            SecretChange::Keep | SecretChange::New => STANDARD.encode(credential::random::<SECRET_BYTES>()?),
        };
        let (product, vault) = (product.clone(), self.vault());
        let secret = vault.seal(&secret_name(&product), secret.as_bytes())?;
        let (mode, credential) = (mode.map(mode_text), credential.map(credential_text));
        self.write(move |connection| {
            let mut find = connection.prepare_cached("SELECT 1 FROM products WHERE id = ?1")?;
            if !find.exists([product.as_str()])? {
                return Err(StoreError::missing("product", product));
            }
            connection
                .prepare_cached(
                    "INSERT INTO registrations (product, mode, credential, device_limit, registered, secret)
                     VALUES (?1, coalesce(?2, 'off'), coalesce(?3, 'key'), coalesce(?4, ?5), 0, ?6)
                     ON CONFLICT (product) DO UPDATE SET mode = coalesce(?2, mode),
                     credential = coalesce(?3, credential), device_limit = coalesce(?4, device_limit),
                     secret = iif(?7, ?6, secret)",
                )?
                .execute(params![product.as_str(), mode, credential, limit, LIMIT, secret, replaces])?;
            let now = connection.prepare_cached(SELECT)?.query_row([product.as_str()], sealed)?;
            unseal(&vault, &product, now)
        })
        .await
    }

    /// Makes a device that registers itself. `TooMany` if the product lets no more register, `Exists` if it is there.
    pub async fn register_device(&self, id: &DeviceId, now: Timestamp) -> Result<Device, StoreError> {
        let psk = devices::random_psk()?;
        let sealed = self.vault().seal(&devices::psk_name(id), &psk)?;
        let id = id.clone();
        self.write(move |connection| {
            let (product, device) = (id.product.as_str(), id.device.as_str());
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO devices (product, device, psk, enabled, created_at, registered)
                     VALUES (?1, ?2, ?3, 1, ?4, 1) ON CONFLICT DO NOTHING",
                )?
                .execute(params![product, device, sealed, now.0])?;
            if inserted == 0 {
                return Err(StoreError::exists("device", id));
            }
            // An error takes the device back.
            let counted = connection
                .prepare_cached(
                    "UPDATE registrations SET registered = registered + 1
                     WHERE product = ?1 AND mode = 'any' AND registered < device_limit",
                )?
                .execute([product])?;
            if counted == 0 {
                let mut limit =
                    connection.prepare_cached("SELECT device_limit FROM registrations WHERE product = ?1")?;
                let limit = limit.query_row([product], |row| row.get(0)).optional()?.unwrap_or(0);
                let of = format!("product {product}");
                return Err(StoreError::TooMany { what: "devices that registered themselves", of, limit });
            }
            let (product_enabled, kind) = devices::of_product(connection, &id.product)?;
            Ok(Device { id, psk, enabled: true, product_enabled, kind, activated_at: None, created_at: now })
        })
        .await
    }
}

/// A registration as it is stored.
struct Sealed {
    mode: RegistrationMode,
    credential: RegistrationCredential,
    limit: u32,
    registered: u32,
    secret: Vec<u8>,
}

fn sealed(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    Ok(Sealed {
        mode: row::word(row, 0)?,
        credential: row::word(row, 1)?,
        limit: row.get(2)?,
        registered: row.get(3)?,
        secret: row.get(4)?,
    })
}

fn unseal(vault: &Vault, product: &ProductId, sealed: Sealed) -> Result<Registration, StoreError> {
    let Sealed { mode, credential, limit, registered, secret } = sealed;
    let name = secret_name(product);
    let secret = String::from_utf8(vault.unseal(&name, &secret)?)
        .map_err(|_| StoreError::Damaged(format!("{name:?} is not text")))?;
    Ok(Registration { mode, credential, limit, registered, secret })
}

fn secret_name(product: &ProductId) -> String {
    format!("registration {product}")
}

fn mode_text(mode: RegistrationMode) -> &'static str {
    match mode {
        RegistrationMode::Off => "off",
        RegistrationMode::Existing => "existing",
        RegistrationMode::Any => "any",
    }
}

fn credential_text(credential: RegistrationCredential) -> &'static str {
    match credential {
        RegistrationCredential::Key => "key",
        RegistrationCredential::Certificate => "certificate",
    }
}

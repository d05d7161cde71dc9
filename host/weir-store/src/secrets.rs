//! Secrets that rules refer to by `secret('NAME')`, encrypted with the key file.

use rusqlite::{OptionalExtension, params};
use weir_core::{SecretName, Timestamp};

use crate::{Store, StoreError, row};

/// Bytes of one secret.
const MAX_SECRET_BYTES: usize = 64 << 10;

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    pub name: SecretName,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Store {
    /// Makes or replaces a secret.
    pub async fn put_secret(&self, name: &SecretName, value: &[u8], now: Timestamp) -> Result<(), StoreError> {
        if value.len() > MAX_SECRET_BYTES {
            return Err(StoreError::TooLarge { what: "a secret", size: value.len(), limit: MAX_SECRET_BYTES });
        }
        let sealed = self.vault().seal(&sealed_name(name), value)?;
        let name = name.clone();
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO secrets (name, value, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)
                     ON CONFLICT DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
                )?
                .execute(params![name.as_str(), sealed, now.0])?;
            Ok(())
        })
        .await
    }

    /// Short: on the caller's thread.
    pub fn secret(&self, name: &SecretName) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed: Option<Vec<u8>> = self.point(|connection| {
            let mut select = connection.prepare_cached("SELECT value FROM secrets WHERE name = ?1")?;
            Ok(select.query_row([name.as_str()], |row| row.get(0)).optional()?)
        })?;
        sealed.map(|sealed| self.vault().unseal(&sealed_name(name), &sealed)).transpose()
    }

    /// Names and times, by name.
    pub async fn secrets(&self) -> Result<Vec<SecretRow>, StoreError> {
        self.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT name, created_at, updated_at FROM secrets ORDER BY name")?;
            let secrets = select.query_map([], |row| {
                Ok(SecretRow {
                    name: row::parsed(row, 0)?,
                    created_at: row::timestamp(row, 1)?,
                    updated_at: row::timestamp(row, 2)?,
                })
            })?;
            Ok(secrets.collect::<Result<_, _>>()?)
        })
        .await
    }

    pub async fn delete_secret(&self, name: &SecretName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |connection| {
            match connection.prepare_cached("DELETE FROM secrets WHERE name = ?1")?.execute([name.as_str()])? {
                0 => Err(StoreError::missing("secret", name)),
                _ => Ok(()),
            }
        })
        .await
    }
}

fn sealed_name(name: &SecretName) -> String {
    format!("secret {name}")
}

//! Keys of applications and administrators.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use weir_core::{Grants, KeyName, Timestamp};

use crate::{Store, StoreError, credential, row};

/// What a key makes of who shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Administrator,
    Application(Grants),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub name: KeyName,
    pub role: Role,
    pub created_at: Timestamp,
}

impl Store {
    /// Makes a key and returns its secret, in the clear here and nowhere else. `Exists` if the name is taken.
    pub async fn create_key(&self, name: &KeyName, role: Role, now: Timestamp) -> Result<String, StoreError> {
        let plaintext = credential::generate()?;
        let (hash, name, role) = (credential::hash(&plaintext), name.clone(), row::to_json(&role)?);
        self.write(move |connection| {
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO keys (name, role, hash, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                )?
                .execute(params![name.as_str(), role, hash, now.0])?;
            if inserted == 1 { Ok(plaintext) } else { Err(StoreError::exists("key", name)) }
        })
        .await
    }

    /// Takes over a secret made elsewhere, such as the administrator's key file. Replaces a key of the same name.
    pub async fn import_key(
        &self,
        name: &KeyName,
        role: Role,
        plaintext: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (hash, name, role) = (credential::hash(plaintext), name.clone(), row::to_json(&role)?);
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO keys (name, role, hash, created_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET role = excluded.role, hash = excluded.hash",
                )?
                .execute(params![name.as_str(), role, hash, now.0])?;
            Ok(())
        })
        .await
    }

    /// The role, if the secret is right. Short: on the caller's thread, in constant time.
    pub fn check_key(&self, name: &KeyName, plaintext: &str) -> Result<Option<Role>, StoreError> {
        let hash = credential::hash(plaintext);
        self.point(|connection| {
            let mut select = connection.prepare_cached("SELECT role, hash FROM keys WHERE name = ?1")?;
            let found: Option<(Role, [u8; 32])> =
                select.query_row([name.as_str()], |row| Ok((row::json(row, 0)?, row.get(1)?))).optional()?;
            Ok(found.and_then(|(role, stored)| credential::same(&hash, &stored).then_some(role)))
        })
    }

    /// The role of a key, for acting on behalf of it. Short: on the caller's thread.
    pub fn key_role(&self, name: &KeyName) -> Result<Option<Role>, StoreError> {
        self.point(|connection| {
            let mut select = connection.prepare_cached("SELECT role FROM keys WHERE name = ?1")?;
            Ok(select.query_row([name.as_str()], |row| row::json(row, 0)).optional()?)
        })
    }

    /// All keys, by name.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT name, role, created_at FROM keys ORDER BY name")?;
            let keys = select.query_map([], |row| {
                Ok(KeyRow { name: row::parsed(row, 0)?, role: row::json(row, 1)?, created_at: row::timestamp(row, 2)? })
            })?;
            Ok(keys.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// At once, even if it owns rules: they have lost their authority then.
    pub async fn delete_key(&self, name: &KeyName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |connection| {
            match connection.prepare_cached("DELETE FROM keys WHERE name = ?1")?.execute([name.as_str()])? {
                0 => Err(StoreError::missing("key", name)),
                _ => Ok(()),
            }
        })
        .await
    }
}

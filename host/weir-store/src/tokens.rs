//! Tokens: passwords of one device, revocable, perhaps with an end.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use weir_core::{DeviceId, Timestamp};

use crate::{Store, StoreError, credential, row};

/// Valid tokens that one device may have.
pub const TOKENS_PER_DEVICE: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub i64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub id: TokenId,
    pub created_at: Timestamp,
    /// `None`: valid until it is revoked.
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenCheck {
    Valid,
    /// It was valid once.
    Expired,
    Unknown,
}

impl Store {
    /// The token in the clear is handed out here and nowhere else.
    pub async fn create_token(
        &self,
        device: &DeviceId,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(TokenId, String), StoreError> {
        let plaintext = credential::generate()?;
        let hash = credential::hash(&plaintext);
        let id = device.clone();
        self.write(move |connection| {
            let (product, device) = (id.product.as_str(), id.device.as_str());
            let mut find = connection.prepare_cached("SELECT 1 FROM devices WHERE product = ?1 AND device = ?2")?;
            if !find.exists([product, device])? {
                return Err(StoreError::missing("device", &id));
            }
            let count = |now: Timestamp| {
                connection
                    .prepare_cached(
                        "SELECT count(*) FROM tokens
                         WHERE product = ?1 AND device = ?2 AND (expires_at IS NULL OR expires_at > ?3)",
                    )?
                    .query_row(params![product, device, now.0], |row| row.get::<_, u32>(0))
            };
            if count(now)? >= TOKENS_PER_DEVICE {
                return Err(StoreError::TooManyTokens { device: id.to_string(), limit: TOKENS_PER_DEVICE });
            }
            // Expired tokens are kept, so that a device is told why it is refused, as long as there is room.
            if count(Timestamp(i64::MIN))? >= TOKENS_PER_DEVICE {
                connection
                    .prepare_cached("DELETE FROM tokens WHERE product = ?1 AND device = ?2 AND expires_at <= ?3")?
                    .execute(params![product, device, now.0])?;
            }
            connection
                .prepare_cached(
                    "INSERT INTO tokens (product, device, hash, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![product, device, hash, now.0, expires_at.map(|time| time.0)])?;
            Ok((TokenId(connection.last_insert_rowid()), plaintext))
        })
        .await
    }

    /// Short: on the caller's thread. Takes the same time for each wrong token.
    pub fn check_token(&self, device: &DeviceId, plaintext: &str, now: Timestamp) -> Result<TokenCheck, StoreError> {
        let hash = credential::hash(plaintext);
        self.point(|connection| {
            let mut select =
                connection.prepare_cached("SELECT hash, expires_at FROM tokens WHERE product = ?1 AND device = ?2")?;
            let mut rows = select.query([device.product.as_str(), device.device.as_str()])?;
            let mut check = TokenCheck::Unknown;
            while let Some(row) = rows.next()? {
                let stored: [u8; 32] = row.get(0)?;
                let expires_at: Option<i64> = row.get(1)?;
                // Every token is compared: an early end would tell which one it was.
                if credential::same(&hash, &stored) {
                    let expired = expires_at.is_some_and(|time| time <= now.0);
                    check = if expired { TokenCheck::Expired } else { TokenCheck::Valid };
                }
            }
            Ok(check)
        })
    }

    /// Revokes every token of a device and says how many there were.
    pub async fn revoke_tokens(&self, device: &DeviceId) -> Result<u64, StoreError> {
        let id = device.clone();
        self.write(move |connection| {
            let revoked = connection
                .prepare_cached("DELETE FROM tokens WHERE product = ?1 AND device = ?2")?
                .execute([id.product.as_str(), id.device.as_str()])?;
            Ok(revoked as u64)
        })
        .await
    }

    /// The oldest first, expired ones too.
    pub async fn tokens(&self, device: &DeviceId) -> Result<Vec<TokenRow>, StoreError> {
        let id = device.clone();
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT id, created_at, expires_at FROM tokens WHERE product = ?1 AND device = ?2 ORDER BY id",
            )?;
            let tokens = select.query_map([id.product.as_str(), id.device.as_str()], |row| {
                let expires_at: Option<i64> = row.get(2)?;
                Ok(TokenRow {
                    id: TokenId(row.get(0)?),
                    created_at: row::timestamp(row, 1)?,
                    expires_at: expires_at.map(Timestamp),
                })
            })?;
            Ok(tokens.collect::<Result<_, _>>()?)
        })
        .await
    }
}

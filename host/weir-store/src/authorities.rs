//! Authorities that products registered.

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_core::{Fingerprint, ProductId, Timestamp};

use crate::{Store, StoreError, certificates::bounded, row};

/// Authorities that one product may have: a root for each plant or supplier, and their successors.
pub const AUTHORITIES_PER_PRODUCT: u32 = 16;

/// Authorities of all products. Whoever verifies holds all of them in memory.
pub const AUTHORITIES: u32 = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityRow {
    pub product: ProductId,
    pub fingerprint: Fingerprint,
    /// The hash of its name and key: certificates that were renewed with the same key share it.
    pub anchor: Fingerprint,
    /// DER.
    pub certificate: Vec<u8>,
    /// For people.
    pub subject: String,
    /// Whether who registered it proved to have its key; else an administrator answers for it.
    pub proved: bool,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
}

const SELECT: &str =
    "SELECT product, fingerprint, anchor, certificate, subject, proved, expires_at, created_at FROM authorities";

impl Store {
    /// `Exists` if the product has it, `Missing` if there is no such product.
    pub async fn create_authority(&self, new: AuthorityRow) -> Result<(), StoreError> {
        self.write(move |connection| {
            let product = new.product.as_str();
            if !connection.prepare_cached("SELECT 1 FROM products WHERE id = ?1")?.exists([product])? {
                return Err(StoreError::missing("product", product));
            }
            let mut find =
                connection.prepare_cached("SELECT 1 FROM authorities WHERE product = ?1 AND fingerprint = ?2")?;
            if find.exists(params![product, new.fingerprint.as_bytes()])? {
                return Err(StoreError::exists("authority", new.fingerprint));
            }
            let mut of_product = connection.prepare_cached("SELECT count(*) FROM authorities WHERE product = ?1")?;
            let count = of_product.query_row([product], |row| row.get(0))?;
            bounded(count, AUTHORITIES_PER_PRODUCT, "authorities", || format!("product {product}"))?;
            let mut of_all = connection.prepare_cached("SELECT count(*) FROM authorities")?;
            let count = of_all.query_row([], |row| row.get(0))?;
            bounded(count, AUTHORITIES, "authorities", || "the hub".to_owned())?;
            connection
                .prepare_cached(
                    "INSERT INTO authorities
                     (product, fingerprint, anchor, certificate, subject, proved, expires_at, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    product,
                    new.fingerprint.as_bytes(),
                    new.anchor.as_bytes(),
                    new.certificate,
                    new.subject,
                    new.proved,
                    new.expires_at.0,
                    new.created_at.0
                ])?;
            Ok(())
        })
        .await
    }

    /// The oldest first. Short, as there are few: on the caller's thread.
    pub fn authorities(&self, product: &ProductId) -> Result<Vec<AuthorityRow>, StoreError> {
        self.point(|connection| {
            let sql = format!("{SELECT} WHERE product = ?1 ORDER BY created_at, fingerprint");
            Ok(connection.prepare_cached(&sql)?.query_map([product.as_str()], authority)?.collect::<Result<_, _>>()?)
        })
    }

    /// Short: on the caller's thread.
    pub fn authority(
        &self,
        product: &ProductId,
        fingerprint: &Fingerprint,
    ) -> Result<Option<AuthorityRow>, StoreError> {
        self.point(|connection| {
            let sql = format!("{SELECT} WHERE product = ?1 AND fingerprint = ?2");
            let mut select = connection.prepare_cached(&sql)?;
            Ok(select.query_row(params![product.as_str(), fingerprint.as_bytes()], authority).optional()?)
        })
    }

    /// Whether the product has a certificate of this authority that has not expired. Short: on the caller's thread.
    pub fn is_authority(&self, product: &ProductId, anchor: &Fingerprint, now: Timestamp) -> Result<bool, StoreError> {
        self.point(|connection| {
            let mut find = connection
                .prepare_cached("SELECT 1 FROM authorities WHERE product = ?1 AND anchor = ?2 AND expires_at >= ?3")?;
            Ok(find.exists(params![product.as_str(), anchor.as_bytes(), now.0])?)
        })
    }

    /// Takes an authority away, and says which it was.
    pub async fn delete_authority(
        &self,
        product: &ProductId,
        fingerprint: &Fingerprint,
    ) -> Result<Fingerprint, StoreError> {
        let (product, fingerprint) = (product.clone(), *fingerprint);
        self.write(move |connection| {
            let mut delete = connection
                .prepare_cached("DELETE FROM authorities WHERE product = ?1 AND fingerprint = ?2 RETURNING anchor")?;
            let anchor = delete
                .query_row(params![product.as_str(), fingerprint.as_bytes()], |row| row::fingerprint(row, 0))
                .optional()?;
            anchor.ok_or_else(|| StoreError::missing("authority", fingerprint))
        })
        .await
    }

    /// A number that differs whenever the authorities do. Short: on the caller's thread.
    pub fn authority_changes(&self) -> Result<i64, StoreError> {
        self.point(changes)
    }

    /// All authorities of all products, and their number of changes. On the caller's thread: bounded by [`AUTHORITIES`].
    pub fn all_authorities(&self) -> Result<(i64, Vec<AuthorityRow>), StoreError> {
        self.point(|connection| {
            // One view: a change between the two reads would be taken for one that was seen.
            let view = connection.unchecked_transaction()?;
            let number = changes(&view)?;
            let rows = view.prepare_cached(SELECT)?.query_map([], authority)?.collect::<Result<_, _>>()?;
            Ok((number, rows))
        })
    }
}

fn changes(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.prepare_cached("SELECT number FROM authority_changes")?.query_row([], |row| row.get(0))?)
}

fn authority(row: &Row<'_>) -> rusqlite::Result<AuthorityRow> {
    Ok(AuthorityRow {
        product: row::parsed(row, 0)?,
        fingerprint: row::fingerprint(row, 1)?,
        anchor: row::fingerprint(row, 2)?,
        certificate: row.get(3)?,
        subject: row.get(4)?,
        proved: row.get(5)?,
        expires_at: row::timestamp(row, 6)?,
        created_at: row::timestamp(row, 7)?,
    })
}

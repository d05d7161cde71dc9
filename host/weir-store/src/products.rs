//! Products: groups of devices that share a schema.

use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_core::{ProductId, ProductType, Timestamp, seams::FieldType};

use crate::{Store, StoreError, credential, row};

/// Ids tried before giving up. A second try is already next to impossible: there are 36¹⁰ ids.
const ID_TRIES: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub id: ProductId,
    pub name: String,
    pub kind: ProductType,
    /// Path → type, in the order declared. Empty: no schema, any name goes.
    pub schema: Vec<(String, FieldType)>,
    /// Whether its devices may connect.
    pub enabled: bool,
    pub created_at: Timestamp,
}

impl Product {
    pub fn is_of_gateways(&self) -> bool {
        self.kind == ProductType::Gateway
    }
}

#[derive(Debug, Clone, Default)]
pub struct NewProduct {
    /// `None`: the store makes one.
    pub id: Option<ProductId>,
    pub name: String,
    pub kind: ProductType,
    pub schema: Vec<(String, FieldType)>,
}

const SELECT: &str = "SELECT id, name, type, schema, enabled, created_at FROM products";

impl Store {
    /// `Exists` if the id is taken.
    pub async fn create_product(&self, new: NewProduct, now: Timestamp) -> Result<Product, StoreError> {
        let schema = row::to_json(&new.schema)?;
        self.write(move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO products (id, name, type, schema, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
            )?;
            let mut take = |id: ProductId| -> Result<Option<ProductId>, StoreError> {
                let inserted = insert.execute(params![id.as_str(), new.name, new.kind.as_str(), schema, now.0])?;
                Ok((inserted == 1).then_some(id))
            };
            let id = match new.id {
                Some(id) => take(id.clone())?.ok_or_else(|| StoreError::exists("product", id))?,
                None => {
                    let mut taken = None;
                    for _ in 0..ID_TRIES {
                        taken = take(random_id()?)?;
                        if taken.is_some() {
                            break;
                        }
                    }
                    taken.ok_or_else(|| StoreError::Failed("no free product id found".to_owned()))?
                }
            };
            Ok(Product { id, name: new.name, kind: new.kind, schema: new.schema, enabled: true, created_at: now })
        })
        .await
    }

    /// Short: on the caller's thread.
    pub fn product(&self, id: &ProductId) -> Result<Option<Product>, StoreError> {
        self.point(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
            Ok(select.query_row([id.as_str()], product).optional()?)
        })
    }

    /// All products, by id.
    pub async fn products(&self) -> Result<Vec<Product>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} ORDER BY id"))?;
            Ok(select.query_map([], product)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Lets the product's devices connect, or forbids it, whatever is said of each.
    pub async fn set_product_enabled(&self, id: &ProductId, enabled: bool) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |connection| {
            let mut update = connection.prepare_cached("UPDATE products SET enabled = ?2 WHERE id = ?1")?;
            match update.execute(params![id.as_str(), enabled])? {
                0 => Err(StoreError::missing("product", id)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Its topic classes go with it. `ProductInUse` while it has devices.
    pub async fn delete_product(&self, id: &ProductId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |connection| {
            let devices = count_devices(connection, &id)?;
            if devices > 0 {
                return Err(StoreError::ProductInUse { product: id.to_string(), devices });
            }
            match connection.prepare_cached("DELETE FROM products WHERE id = ?1")?.execute([id.as_str()])? {
                0 => Err(StoreError::missing("product", id)),
                _ => Ok(()),
            }
        })
        .await
    }
}

pub(crate) fn count_devices(connection: &Connection, product: &ProductId) -> Result<u64, StoreError> {
    let mut count = connection.prepare_cached("SELECT count(*) FROM devices WHERE product = ?1")?;
    Ok(count.query_row([product.as_str()], |row| row::unsigned(row, 0))?)
}

fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        id: row::parsed(row, 0)?,
        name: row.get(1)?,
        kind: row::parsed(row, 2)?,
        schema: row::json(row, 3)?,
        enabled: row.get(4)?,
        created_at: row::timestamp(row, 5)?,
    })
}

fn random_id() -> Result<ProductId, StoreError> {
    const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    // The slight preference of `%` for the first letters does not matter: ids need not be secret.
    let letter = |byte: u8| LETTERS.get(usize::from(byte) % LETTERS.len()).copied().map(char::from);
    let text: String = credential::random::<10>()?.into_iter().filter_map(letter).collect();
    text.parse().map_err(|error: weir_core::ids::InvalidName| StoreError::Failed(error.to_string()))
}

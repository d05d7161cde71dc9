//! Classes of topics that products have beside the defaults.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use weir_core::{ProductId, TopicClass, TopicSuffix};

use crate::{Store, StoreError, row};

impl Store {
    /// `Missing` if there is no such product, `Exists` if it has a class of this suffix, `TooManyTopics` if it would have
    /// more than `limit`.
    pub async fn create_topic(&self, product: &ProductId, class: TopicClass, limit: usize) -> Result<(), StoreError> {
        let product = product.clone();
        self.write(move |connection| {
            if !connection.prepare_cached("SELECT 1 FROM products WHERE id = ?1")?.exists([product.as_str()])? {
                return Err(StoreError::missing("product", product));
            }
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO topics (product, suffix, publish, subscribe) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![product.as_str(), class.suffix.as_str(), class.publish, class.subscribe])?;
            if inserted == 0 {
                return Err(StoreError::exists("topic class", format!("{product} {}", class.suffix)));
            }
            // An error takes the row back.
            if count(connection, &product)? > limit as u64 {
                return Err(StoreError::TooManyTopics { product: product.to_string(), limit });
            }
            Ok(())
        })
        .await
    }

    /// Replaces the rights of a class. `Missing` if the product has none of this suffix.
    pub async fn change_topic(&self, product: &ProductId, class: TopicClass) -> Result<(), StoreError> {
        let product = product.clone();
        self.write(move |connection| {
            let changed = connection
                .prepare_cached("UPDATE topics SET publish = ?3, subscribe = ?4 WHERE product = ?1 AND suffix = ?2")?
                .execute(params![product.as_str(), class.suffix.as_str(), class.publish, class.subscribe])?;
            found(changed, &product, &class.suffix)
        })
        .await
    }

    /// `Missing` if the product has no class of this suffix.
    pub async fn delete_topic(&self, product: &ProductId, suffix: &TopicSuffix) -> Result<(), StoreError> {
        let (product, suffix) = (product.clone(), suffix.clone());
        self.write(move |connection| {
            let deleted = connection
                .prepare_cached("DELETE FROM topics WHERE product = ?1 AND suffix = ?2")?
                .execute(params![product.as_str(), suffix.as_str()])?;
            found(deleted, &product, &suffix)
        })
        .await
    }

    /// The classes of one product by suffix; none if there is no such product.
    pub async fn topics(&self, product: &ProductId) -> Result<Vec<TopicClass>, StoreError> {
        let product = product.clone();
        self.read(move |connection| {
            let mut select = connection
                .prepare_cached("SELECT suffix, publish, subscribe FROM topics WHERE product = ?1 ORDER BY suffix")?;
            Ok(select.query_map([product.as_str()], |row| class(row, 0))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The classes of every product that has some.
    pub async fn all_topics(&self) -> Result<BTreeMap<ProductId, Vec<TopicClass>>, StoreError> {
        self.read(|connection| {
            let mut select = connection
                .prepare_cached("SELECT product, suffix, publish, subscribe FROM topics ORDER BY product, suffix")?;
            let mut topics = BTreeMap::<ProductId, Vec<TopicClass>>::new();
            for row in select.query_map([], |row| Ok((row::parsed(row, 0)?, class(row, 1)?)))? {
                let (product, class) = row?;
                topics.entry(product).or_default().push(class);
            }
            Ok(topics)
        })
        .await
    }
}

fn count(connection: &Connection, product: &ProductId) -> Result<u64, StoreError> {
    let mut count = connection.prepare_cached("SELECT count(*) FROM topics WHERE product = ?1")?;
    Ok(count.query_row([product.as_str()], |row| row::unsigned(row, 0))?)
}

fn found(rows: usize, product: &ProductId, suffix: &TopicSuffix) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::missing("topic class", format!("{product} {suffix}"))) } else { Ok(()) }
}

/// The columns suffix, publish and subscribe, from the `first`.
fn class(row: &Row<'_>, first: usize) -> rusqlite::Result<TopicClass> {
    Ok(TopicClass { suffix: row::parsed(row, first)?, publish: row.get(first + 1)?, subscribe: row.get(first + 2)? })
}

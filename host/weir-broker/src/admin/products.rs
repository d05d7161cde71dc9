//! Products: kinds of devices.

pub use weir_store::{NewProduct, Product};

use weir_core::ProductId;

use super::{AdminError, completed};
use crate::{Broker, CloseReason};

/// Characters of a product's name.
const NAME_CHARS: usize = 128;

/// Paths that one schema may declare.
const SCHEMA_FIELDS: usize = 512;

/// Bytes of one path of a schema.
const PATH_BYTES: usize = 256;

/// Makes a product; without an id, one is made up.
pub async fn create(broker: &Broker, new: NewProduct) -> Result<Product, AdminError> {
    if new.name.chars().count() > NAME_CHARS || new.name.chars().any(char::is_control) {
        let reason = format!("use at most {NAME_CHARS} characters, none of them a control character");
        return Err(AdminError::invalid("name", reason));
    }
    if new.schema.len() > SCHEMA_FIELDS {
        let reason = format!("a schema declares at most {SCHEMA_FIELDS} paths, not {}", new.schema.len());
        return Err(AdminError::invalid("schema", reason));
    }
    for (path, _) in &new.schema {
        if path.trim().is_empty() || path.len() > PATH_BYTES || path.chars().any(char::is_control) {
            let reason = format!("a path has 1 to {PATH_BYTES} bytes, as in \"temp\" or \"pos.lat\"");
            return Err(AdminError::invalid("schema", reason));
        }
    }
    Ok(broker.store().create_product(new, broker.clock().now()).await?)
}

pub fn get(broker: &Broker, id: &ProductId) -> Result<Product, AdminError> {
    broker.store().product(id)?.ok_or_else(|| AdminError::missing("product", id))
}

pub async fn list(broker: &Broker) -> Result<Vec<Product>, AdminError> {
    Ok(broker.store().products().await?)
}

/// Lets the devices of a product connect, or forbids it and ends their sessions. What is said of each device stays said.
pub async fn set_enabled(broker: &Broker, id: &ProductId, enabled: bool) -> Result<Product, AdminError> {
    completed(broker, "product enabled or disabled", |broker| {
        let id = id.clone();
        async move {
            broker.store().set_product_enabled(&id, enabled).await?;
            if !enabled {
                broker.close_product_sessions(&id, CloseReason::Disabled);
                broker.put_offline(|device, through| device.product == id || through.gateway.product == id).await;
            }
            get(&broker, &id)
        }
    })
    .await
}

/// Deletes a product with its topic classes. Refused while it has devices.
pub async fn delete(broker: &Broker, id: &ProductId) -> Result<(), AdminError> {
    completed(broker, "product deleted", |broker| {
        let id = id.clone();
        async move {
            let policy = &broker.ingress().policy;
            let _one_at_a_time = policy.changing().await;
            broker.store().delete_product(&id).await?;
            policy.change(|policy| policy.set_classes(id, Vec::new()));
            Ok(())
        }
    })
    .await
}

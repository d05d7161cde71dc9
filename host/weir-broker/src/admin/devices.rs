//! Devices: their names, keys and whether they may connect.

pub use weir_store::Device;

use weir_core::{DeviceId, Principal, ProductId};

use super::{AdminError, check_page, completed, products};
use crate::{Broker, CloseReason};

/// Makes a device, with a random key of its own.
pub async fn create(broker: &Broker, id: &DeviceId) -> Result<Device, AdminError> {
    Ok(broker.store().create_device(id, None, broker.clock().now()).await?)
}

pub fn get(broker: &Broker, id: &DeviceId) -> Result<Device, AdminError> {
    broker.store().device(id)?.ok_or_else(|| AdminError::missing("device", id))
}

/// One page of a product's devices by name, and how many it has.
pub async fn list(
    broker: &Broker,
    product: &ProductId,
    offset: u64,
    limit: u32,
) -> Result<(Vec<Device>, u64), AdminError> {
    check_page(limit)?;
    products::get(broker, product)?;
    Ok(broker.store().devices(product, offset, limit).await?)
}

/// Deletes a device with its tokens, pins, bindings and shadows, revokes the certificates that the hub issued to it, and
/// ends its session.
pub async fn delete(broker: &Broker, id: &DeviceId) -> Result<(), AdminError> {
    completed(broker, "device deleted", |broker| {
        let id = id.clone();
        async move {
            broker.store().delete_device(&id, broker.clock().now()).await?;
            broker.end_sessions(&Principal::Device(id.clone())).await;
            broker.put_offline(|device, through| *device == id || through.gateway == id).await;
            broker.forget_shadows(&id).await;
            Ok(())
        }
    })
    .await
}

/// Forgets that a device has connected, so that it may register again. Its key stays the same.
pub async fn reset(broker: &Broker, id: &DeviceId) -> Result<Device, AdminError> {
    broker.store().deactivate_device(id).await?;
    get(broker, id)
}

/// Lets a device connect, or forbids it and ends its session.
pub async fn set_enabled(broker: &Broker, id: &DeviceId, enabled: bool) -> Result<Device, AdminError> {
    completed(broker, "device enabled or disabled", |broker| {
        let id = id.clone();
        async move {
            broker.store().set_device_enabled(&id, enabled).await?;
            if !enabled {
                broker.close_device_sessions(&id, CloseReason::Disabled);
                broker.put_offline(|device, through| *device == id || through.gateway == id).await;
            }
            get(&broker, &id)
        }
    })
    .await
}

//! Gateways and the devices that are bound to them, as an administrator binds them: without a signature.

use weir_core::{DeviceId, ProductId, ProductType, Timestamp};
use weir_store::{Binding, NewBinding, StoreError};

use super::{AdminError, check_page, completed, devices};
use crate::{Broker, gateway::bind_limits, presence::Reason};

/// A device that is bound to a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundDevice {
    pub device: DeviceId,
    pub gateway: DeviceId,
    pub bound_at: Timestamp,
    /// Since when it is online through the gateway, if it is.
    pub online_since: Option<Timestamp>,
}

/// One page of a gateway's devices by product and name, those of one product or all, and how many there are.
pub async fn list(
    broker: &Broker,
    gateway: &DeviceId,
    product: Option<&ProductId>,
    offset: u64,
    limit: u32,
) -> Result<(Vec<BoundDevice>, u64), AdminError> {
    check_page(limit)?;
    if devices::get(broker, gateway)?.kind != ProductType::Gateway {
        return Err(StoreError::NotGateway(gateway.to_string()).into());
    }
    let (bound, total) = broker.store().bindings(gateway, product, offset, limit).await?;
    Ok((bound.into_iter().map(|binding| bound_device(broker, binding)).collect(), total))
}

/// The gateway that a device is bound to, if it is.
pub fn of(broker: &Broker, device: &DeviceId) -> Result<Option<BoundDevice>, AdminError> {
    Ok(broker.store().binding(device)?.map(|binding| bound_device(broker, binding)))
}

/// Binds devices to a gateway: all of them, or none. Those that are bound to it already stay so.
pub async fn bind(broker: &Broker, gateway: &DeviceId, devices: Vec<DeviceId>) -> Result<(), AdminError> {
    check_count(broker, &devices)?;
    let new = devices.into_iter().map(|device| NewBinding { device, signature: None }).collect();
    let now = broker.clock().now();
    let limits = bind_limits(broker.limits(), now);
    broker.store().bind(gateway, new, true, limits, now).await?;
    Ok(())
}

/// Unbinds devices, and puts out those that are online through the gateway. `Missing` names the first that was not bound
/// to it; the others are unbound all the same.
pub async fn unbind(broker: &Broker, gateway: &DeviceId, devices: Vec<DeviceId>) -> Result<(), AdminError> {
    check_count(broker, &devices)?;
    devices::get(broker, gateway)?;
    completed(broker, "devices unbound", |broker| {
        let gateway = gateway.clone();
        async move {
            let unbound = broker.unbind(&gateway, devices.clone(), Reason::Ended).await?;
            let foreign = devices.iter().zip(unbound).find(|(_, was_bound)| !was_bound);
            match foreign {
                Some((device, _)) => Err(AdminError::missing("binding", format!("{gateway} {device}"))),
                None => Ok(()),
            }
        }
    })
    .await
}

fn check_count(broker: &Broker, devices: &[DeviceId]) -> Result<(), AdminError> {
    let limit = broker.limits().gateway_devices;
    if (1..=limit).contains(&devices.len()) {
        return Ok(());
    }
    let reason = format!("name 1 to {limit} devices (limits.gateway_devices), not {}", devices.len());
    Err(AdminError::invalid("devices", reason))
}

fn bound_device(broker: &Broker, Binding { device, gateway, bound_at, .. }: Binding) -> BoundDevice {
    let through = broker.sub_devices().through(&device).filter(|through| through.gateway == gateway);
    BoundDevice { online_since: through.map(|through| through.since), device, gateway, bound_at }
}

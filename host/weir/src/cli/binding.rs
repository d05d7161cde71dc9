//! Bindings: which gateway may act for a device.

use serde_json::json;
use weir_core::DeviceId;

use super::{failure::Failure, hub::Hub, output::Output};

#[derive(Debug, clap::Args)]
pub(crate) struct BindingArgs {
    /// The gateway, as PRODUCT/GATEWAY
    gateway: DeviceId,
    /// The devices behind it, as PRODUCT/DEVICE
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<DeviceId>,
}

impl BindingArgs {
    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let gateway = &self.gateway;
        let path = ["products", gateway.product.as_str(), "devices", gateway.device.as_str(), "bindings"];
        path.iter().chain(rest).copied().collect()
    }

    fn see(&self) -> String {
        format!("weir get bindings {}", self.gateway)
    }
}

/// All of them, or none.
pub(super) async fn create(args: &BindingArgs, hub: &Hub, out: Output) -> Result<(), Failure> {
    let body = json!({"devices": args.devices});
    let made = hub.post(&args.path(&[]), &body).await.map_err(|failure| failure.see("weir get devices"))?;
    out.done(&made, &format!("{} bound to gateway {}", listed(&args.devices), args.gateway))
}

pub(super) async fn delete(args: &BindingArgs, hub: &Hub, out: Output) -> Result<(), Failure> {
    for device in &args.devices {
        let path = args.path(&[device.product.as_str(), device.device.as_str()]);
        hub.delete(&path).await.map_err(|failure| failure.see(&args.see()))?;
    }
    let deleted = args.devices.iter().map(ToString::to_string).collect::<Vec<_>>();
    out.done(&json!({"deleted": deleted}), &format!("{} unbound from gateway {}", listed(&args.devices), args.gateway))
}

fn listed(devices: &[DeviceId]) -> String {
    devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

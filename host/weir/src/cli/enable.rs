//! `weir enable` and `weir disable`: rules, products and devices.

use serde_json::json;
use weir_core::{ProductId, RuleName};

use super::{device::DeviceArgs, failure::Failure, hub::Hub, output::Output};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// A rule; disabled, it reads nothing and holds no messages back from deletion
    #[command(alias = "rules")]
    Rule { name: RuleName },
    /// A product; disabled, its devices are disconnected and cannot connect, whatever is said of each
    #[command(alias = "products")]
    Product { id: ProductId },
    /// A device; disabled, it is disconnected and cannot connect
    #[command(alias = "devices")]
    Device {
        #[command(flatten)]
        device: DeviceArgs,
    },
}

pub(crate) async fn run(what: What, enabled: bool, hub: &Hub, out: Output) -> Result<(), Failure> {
    let state = if enabled { "enabled" } else { "disabled" };
    match what {
        What::Rule { name } => {
            let verb = if enabled { "enable" } else { "disable" };
            let answer = hub
                .post(&["rules", name.as_str(), verb], &json!({}))
                .await
                .map_err(|failure| failure.see("weir get rules"))?;
            out.done(&answer, &format!("rule {name} {state}"))
        }
        What::Product { id } => {
            let answer = hub
                .patch(&["products", id.as_str()], &json!({"enabled": enabled}))
                .await
                .map_err(|failure| failure.see("weir get products"))?;
            out.done(&answer, &format!("product {id} {state}"))
        }
        What::Device { device } => {
            let id = device.id()?;
            let path = ["products", id.product.as_str(), "devices", id.device.as_str()];
            let answer = hub
                .patch(&path, &json!({"enabled": enabled}))
                .await
                .map_err(|failure| failure.see(&format!("weir get devices {}", id.product)))?;
            out.done(&answer, &format!("device {id} {state}"))
        }
    }
}

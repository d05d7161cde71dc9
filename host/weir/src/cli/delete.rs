//! `weir delete`: whatever can be made, and dead letters.

use serde_json::{Value, json};
use weir_core::{IndexName, KeyName, PluginName, ProductId, RuleName, SecretName, SinkName, TopicSuffix};

use super::{
    binding::{self, BindingArgs},
    broadcast, certificate,
    device::DeviceArgs,
    failure::Failure,
    hub::Hub,
    output::Output,
    pin::{self, UnpinArgs},
    shadow::{self, Which},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// A product that has no devices any more
    #[command(alias = "products")]
    Product { id: ProductId },
    /// A topic class of a product; subscriptions that rest on it end at once
    #[command(alias = "topics")]
    Topic { product: ProductId, suffix: TopicSuffix },
    /// A device, with its tokens, pins and bindings; the certificates that the hub issued to it are revoked
    #[command(alias = "devices")]
    Device {
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// All tokens of a device: no client can connect with them any more
    #[command(alias = "tokens")]
    Token {
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// A shadow: what is reported and desired; its version goes on
    #[command(alias = "shadows")]
    Shadow {
        #[command(flatten)]
        which: Which,
        /// Only if the shadow is at this version
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        version: u64,
    },
    /// Cancel a broadcast that runs: devices that do not have it yet do not get it
    #[command(alias = "broadcasts")]
    Broadcast { product: ProductId, id: i64 },
    /// Revoke certificates for ever, each by its SHA-256 fingerprint or, if the hub issued it, by its serial number
    #[command(alias = "certificates")]
    Certificate {
        #[arg(required = true, value_name = "FINGERPRINT|SERIAL")]
        names: Vec<String>,
    },
    /// A pin of a device; without any, the device accepts again what authorities signed
    #[command(alias = "pins")]
    Pin {
        #[command(flatten)]
        args: UnpinArgs,
    },
    /// The binding of devices to a gateway, which cannot act for them any more at once
    #[command(alias = "bindings")]
    Binding {
        #[command(flatten)]
        args: BindingArgs,
    },
    /// An authority of a product: nobody gets in any more by what it signed
    #[command(alias = "authorities")]
    Authority { product: ProductId, fingerprint: String },
    /// A key
    #[command(alias = "keys")]
    Key { name: KeyName },
    /// A secret
    #[command(alias = "secrets")]
    Secret { name: SecretName },
    /// A rule, with its position and its dead letters
    #[command(alias = "rules")]
    Rule { name: RuleName },
    /// A sink that no rule uses any more
    #[command(alias = "sinks")]
    Sink { name: SinkName },
    /// A plugin that no sink and no rule uses any more
    #[command(alias = "plugins")]
    Plugin { name: PluginName },
    /// An index; queries find the same without it, only slower
    #[command(alias = "indexes")]
    Index { name: IndexName },
    /// Dead letters: what they hold is lost
    #[command(alias = "deadletters")]
    Deadletter {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<i64>,
    },
}

pub(crate) async fn run(what: What, hub: &Hub, out: Output) -> Result<(), Failure> {
    match what {
        What::Product { id } => delete(hub, out, "product", "products", id.as_str()).await,
        What::Key { name } => delete(hub, out, "key", "keys", name.as_str()).await,
        What::Secret { name } => delete(hub, out, "secret", "secrets", name.as_str()).await,
        What::Rule { name } => delete(hub, out, "rule", "rules", name.as_str()).await,
        What::Sink { name } => delete(hub, out, "sink", "sinks", name.as_str()).await,
        What::Broadcast { product, id } => broadcast::cancel(&product, id, hub, out).await,
        What::Plugin { name } => delete(hub, out, "plugin", "plugins", name.as_str()).await,
        What::Index { name } => delete(hub, out, "index", "indexes", name.as_str()).await,
        What::Certificate { names } => certificate::revoke(&names, hub, out).await,
        What::Pin { args } => pin::delete(&args, hub, out).await,
        What::Binding { args } => binding::delete(&args, hub, out).await,
        What::Authority { product, fingerprint } => {
            hub.delete(&["products", product.as_str(), "authorities", &fingerprint])
                .await
                .map_err(|failure| failure.see(&format!("weir get authorities {product}")))?;
            out.done(&json!({"deleted": fingerprint}), &format!("authority {fingerprint} of product {product} deleted"))
        }
        What::Deadletter { ids } => {
            for id in ids {
                delete(hub, out, "deadletter", "deadletters", &id.to_string()).await?;
            }
            Ok(())
        }
        What::Topic { product, suffix } => {
            hub.delete(&["products", product.as_str(), "topics", suffix.as_str()])
                .await
                .map_err(|failure| failure.see(&format!("weir get topics {product}")))?;
            let words = format!("topic class {product}/DEVICE/{suffix} deleted");
            out.done(&json!({"deleted": format!("{product} {suffix}")}), &words)
        }
        What::Device { device } => {
            let id = device.id()?;
            hub.delete(&["products", id.product.as_str(), "devices", id.device.as_str()])
                .await
                .map_err(|failure| failure.see(&format!("weir get devices {}", id.product)))?;
            out.done(&json!({"deleted": id.to_string()}), &format!("device {id} deleted"))
        }
        What::Shadow { which, version } => shadow::delete(&which, version, hub, out).await,
        What::Token { device } => {
            let id = device.id()?;
            let answer = hub
                .delete(&["products", id.product.as_str(), "devices", id.device.as_str(), "tokens"])
                .await
                .map_err(|failure| failure.see(&format!("weir get devices {}", id.product)))?;
            let revoked = answer.get("revoked").and_then(Value::as_u64).unwrap_or(0);
            out.done(&answer, &format!("{revoked} tokens of device {id} revoked"))
        }
    }
}

async fn delete(hub: &Hub, out: Output, kind: &str, list: &str, name: &str) -> Result<(), Failure> {
    hub.delete(&[list, name]).await.map_err(|failure| failure.see(&format!("weir get {list}")))?;
    out.done(&json!({"deleted": name}), &format!("{kind} {name} deleted"))
}

//! `weir describe`: one thing with everything known of it.

use serde_json::Value;
use weir_core::{IndexName, PluginName, ProductId, RuleName, SinkName};

use super::{
    broadcast,
    device::DeviceArgs,
    failure::Failure,
    hub::Hub,
    output::Output,
    registration,
    shadow::{self, Which},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// A product: its schema, its topic classes, and whether its devices may connect and register
    #[command(alias = "products")]
    Product {
        id: ProductId,
        /// Show the secret by which its devices register
        #[arg(long)]
        show_secrets: bool,
    },
    /// A broadcast, and how far it has come
    #[command(alias = "broadcasts")]
    Broadcast { product: ProductId, id: i64 },
    /// An authority of a product
    #[command(alias = "authorities")]
    Authority { product: ProductId, fingerprint: String },
    /// A device, its connection and its tokens
    #[command(alias = "devices")]
    Device {
        #[command(flatten)]
        device: DeviceArgs,
        /// Show its pre-shared key, which the vendor's credentials are made with
        #[arg(long)]
        show_secrets: bool,
    },
    /// A shadow: how the device is, how it is to be, the difference, and what changed it lately
    #[command(alias = "shadows")]
    Shadow {
        #[command(flatten)]
        which: Which,
    },
    /// A rule, its text, and what became of its rows, action by action
    #[command(alias = "rules")]
    Rule { name: RuleName },
    /// A sink
    #[command(alias = "sinks")]
    Sink { name: SinkName },
    /// A plugin: its version, what it imports, and who signed it
    #[command(alias = "plugins")]
    Plugin { name: PluginName },
    /// An index
    #[command(alias = "indexes")]
    Index { name: IndexName },
    /// A dead letter: why, and what it holds
    #[command(alias = "deadletters")]
    Deadletter { id: i64 },
}

pub(crate) async fn run(what: What, hub: &Hub, out: Output) -> Result<(), Failure> {
    let thing = match what {
        What::Product { id, show_secrets } => {
            let mut product = get(hub, "products", id.as_str()).await?;
            let registration = registration::of(&id, show_secrets, hub).await?;
            if let (Some(product), Some(registration)) = (product.as_object_mut(), registration) {
                product.insert("registration".to_owned(), registration);
            }
            product
        }
        What::Broadcast { product, id } => broadcast::describe(&product, id, hub).await?,
        What::Authority { product, fingerprint } => hub
            .get(&["products", product.as_str(), "authorities", &fingerprint])
            .await
            .map_err(|failure| failure.see(&format!("weir get authorities {product}")))?,
        What::Rule { name } => get(hub, "rules", name.as_str()).await?,
        What::Sink { name } => get(hub, "sinks", name.as_str()).await?,
        What::Plugin { name } => get(hub, "plugins", name.as_str()).await?,
        What::Index { name } => get(hub, "indexes", name.as_str()).await?,
        What::Deadletter { id } => get(hub, "deadletters", &id.to_string()).await?,
        What::Shadow { which } => return shadow::describe(&which, hub, out).await,
        What::Device { device, show_secrets } => {
            let id = device.id()?;
            let mut device = hub
                .get(&["products", id.product.as_str(), "devices", id.device.as_str()])
                .await
                .map_err(|failure| failure.see(&format!("weir get devices {}", id.product)))?;
            if !show_secrets && let Some(psk) = device.get_mut("psk") {
                *psk = Value::from("***");
            }
            device
        }
    };
    out.fields(&thing)
}

async fn get(hub: &Hub, list: &str, name: &str) -> Result<Value, Failure> {
    hub.get(&[list, name]).await.map_err(|failure| failure.see(&format!("weir get {list}")))
}

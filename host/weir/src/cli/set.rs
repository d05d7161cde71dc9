//! `weir set`: shadows, and which devices may register.

use reqwest::Method;
use serde_json::{Map, Value, json};

use weir_core::ProductId;

use super::{
    device::DeviceArgs,
    failure::Failure,
    hub::Hub,
    output::Output,
    registration::{self, RegistrationArgs},
    shadow::Which,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// A shadow: what is desired of a device, or what it has reported. Keys are merged into what there is; null deletes one
    #[command(alias = "shadows")]
    Shadow {
        #[command(flatten)]
        which: Which,
        /// What the device is to be, such as '{"fw":"1.2"}'; null: nothing any more
        #[arg(long, value_name = "JSON", value_parser = parse_state)]
        desired: Option<State>,
        /// What the device is, in its stead; null: nothing is known
        #[arg(long, value_name = "JSON", value_parser = parse_state, required_unless_present = "desired")]
        reported: Option<State>,
        /// Only if the shadow is at this version
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        version: u64,
        /// Replace what is given whole, instead of merging
        #[arg(long)]
        replace: bool,
    },
    /// A product: which of its devices may register themselves, and with what secret
    #[command(alias = "products")]
    Product {
        product: ProductId,
        #[command(flatten)]
        args: RegistrationArgs,
    },
    /// A device: let it register again although it has connected
    #[command(alias = "devices")]
    Device {
        #[command(flatten)]
        device: DeviceArgs,
        /// Forget that it has connected; its key stays the same
        #[arg(long, required = true)]
        may_register: bool,
    },
}

/// An object, or `null`.
#[derive(Debug, Clone)]
pub(crate) struct State(Value);

pub(crate) async fn run(what: What, hub: &Hub, out: Output) -> Result<(), Failure> {
    match what {
        What::Product { product, args } => registration::set(&product, &args, hub, out).await,
        What::Device { device, .. } => {
            let id = device.id()?;
            let path = ["products", id.product.as_str(), "devices", id.device.as_str()];
            let answer = hub
                .patch(&path, &json!({"activated": false}))
                .await
                .map_err(|failure| failure.see(&format!("weir get devices {}", id.product)))?;
            out.done(&answer, &format!("device {id} may register again"))
        }
        What::Shadow { which, desired, reported, version, replace } => {
            let parts = [("reported", reported), ("desired", desired)];
            let state: Map<String, Value> =
                parts.into_iter().filter_map(|(part, state)| Some((part.to_owned(), state?.0))).collect();
            let body = json!({"state": state, "version": version});
            let method = if replace { Method::PUT } else { Method::PATCH };
            let changed = which.ask(method, &[], Some(&body), hub).await?;
            let left = changed.get("state").and_then(|state| state.get("delta"));
            let left = left.map(|delta| format!("; left to do: {delta}")).unwrap_or_default();
            let version = changed.get("version").and_then(Value::as_u64).unwrap_or_default();
            out.done(&changed, &format!("{} is at version {version}{left}", which.title()?))
        }
    }
}

fn parse_state(text: &str) -> Result<State, String> {
    match serde_json::from_str(text) {
        Ok(state @ (Value::Object(_) | Value::Null)) => Ok(State(state)),
        Ok(_) => Err("write an object, such as '{\"fw\":\"1.2\"}', or null".to_owned()),
        Err(error) => Err(format!("this is not JSON: {error}; write such as '{{\"fw\":\"1.2\"}}'")),
    }
}

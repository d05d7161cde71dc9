//! `weir call`: sends a device something and prints what it answers (RRPC).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use weir_core::DeviceId;

use super::{
    device::parse_device,
    failure::Failure,
    hub::Hub,
    output::{Output, text},
    publish,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The device, as PRODUCT DEVICE or PRODUCT/DEVICE, and what it is sent; - reads that from standard input
    #[arg(required = true, num_args = 2..=3, value_names = ["PRODUCT", "DEVICE", "PAYLOAD"])]
    call: Vec<String>,
    /// How long to wait for the answer, at most 30 seconds
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration, default_value = "5s")]
    timeout: Duration,
}

impl Args {
    fn device_and_payload(&self) -> Result<(DeviceId, &str), Failure> {
        match self.call.as_slice() {
            [device, payload] => Ok((parse_device(device)?, payload)),
            [product, device, payload] => Ok((parse_device(&format!("{product}/{device}"))?, payload)),
            _ => Err(Failure::usage("write PRODUCT DEVICE PAYLOAD")),
        }
    }
}

pub(crate) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let (id, payload) = args.device_and_payload()?;
    let body = json!({
        "payload_base64": STANDARD.encode(publish::payload(payload)?),
        "timeout": u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX),
    });
    let path = ["products", id.product.as_str(), "devices", id.device.as_str(), "call"];
    let answer =
        hub.post(&path, &body).await.map_err(|failure| failure.see(&format!("weir get devices {}", id.product)))?;
    if out.is_json() {
        return out.json(&answer);
    }
    let bytes = STANDARD.decode(text(&answer, "payload_base64"));
    out.bytes(&[&bytes.map_err(|_| Failure::refused("the hub's answer is not readable"))?])
}

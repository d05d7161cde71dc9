//! `weir create pin` and `weir delete pin`: certificates that are good for one device, whoever signed them.

use std::path::PathBuf;

use serde_json::json;

use super::{
    authority::read_pem,
    device::DeviceArgs,
    failure::Failure,
    hub::Hub,
    output::{Output, text},
};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PinArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// The certificate, in PEM
    #[arg(long, value_name = "FILE", required_unless_present = "fingerprint", conflicts_with = "fingerprint")]
    certificate: Option<PathBuf>,
    /// Its SHA-256 fingerprint, where it is not at hand: openssl x509 -in FILE -noout -fingerprint -sha256
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UnpinArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// The certificate's SHA-256 fingerprint
    #[arg(long, value_name = "HEX")]
    fingerprint: String,
}

pub(crate) async fn create(args: &PinArgs, hub: &Hub, out: Output) -> Result<(), Failure> {
    let id = args.device.id()?;
    let body = match (&args.certificate, &args.fingerprint) {
        (Some(path), _) => json!({"certificate": read_pem(path)?}),
        (None, fingerprint) => json!({"fingerprint": fingerprint}),
    };
    let path = ["products", id.product.as_str(), "devices", id.device.as_str(), "pins"];
    let pinned =
        hub.post(&path, &body).await.map_err(|failure| failure.see(&format!("weir get devices {}", id.product)))?;
    let words = format!(
        "certificate {} pinned to device {id}, which accepts no certificate now that is not pinned",
        text(&pinned, "fingerprint")
    );
    out.done(&pinned, &words)
}

pub(crate) async fn delete(args: &UnpinArgs, hub: &Hub, out: Output) -> Result<(), Failure> {
    let (id, fingerprint) = (args.device.id()?, &args.fingerprint);
    let path = ["products", id.product.as_str(), "devices", id.device.as_str(), "pins", fingerprint];
    hub.delete(&path)
        .await
        .map_err(|failure| failure.see(&format!("weir get certificates {} {}", id.product, id.device)))?;
    out.done(&json!({"deleted": fingerprint}), &format!("pin {fingerprint} of device {id} deleted"))
}

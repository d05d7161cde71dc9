//! `weir create`: products, topic classes, devices, bindings, tokens, certificates, pins, authorities, keys and secrets.

use std::{io::Read, path::PathBuf};

use serde_json::{Map, Value, json};
use weir_core::{DeviceId, KeyName, ProductId, ProductType, SecretName, TopicFilter, TopicSuffix};

use super::{
    authority::{self, AuthorityArgs},
    binding::{self, BindingArgs},
    certificate::{self, CertificateArgs},
    device::{self, DeviceArgs, Expiry},
    failure::Failure,
    hub::Hub,
    output::{Output, text},
    pin::{self, PinArgs},
};

/// Bytes of a secret.
const MAX_SECRET: u64 = 64 * 1024;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// Make a product: a kind of device, whose devices share topics, rules and a schema
    #[command(alias = "products")]
    Product {
        /// Ten upper-case letters or digits, the first level of its devices' topics; chosen by the hub if left out
        #[arg(long)]
        id: Option<ProductId>,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// What its devices are: device, or gateway, which acts for devices that are bound to it
        #[arg(long = "type", value_name = "TYPE", default_value_t, hide_default_value = true)]
        kind: ProductType,
        /// Fields of its messages and their types, against which rules are checked: number, integer, text, boolean or json
        #[arg(long, value_name = "FIELD:TYPE,…", value_delimiter = ',', value_parser = parse_field)]
        schema: Vec<(String, String)>,
    },
    /// Add a class of topics to a product, beside control, event and data; its devices may use it at once
    #[command(alias = "topics")]
    Topic {
        product: ProductId,
        /// What follows PRODUCT/DEVICE/ in the topic; a level may be +
        suffix: TopicSuffix,
        /// Devices may publish to it
        #[arg(long)]
        publish: bool,
        /// Devices may subscribe to it
        #[arg(long)]
        subscribe: bool,
    },
    /// Make a device of a product
    #[command(alias = "devices")]
    Device {
        #[command(flatten)]
        device: DeviceArgs,
        /// Make a certificate for it too, and print that
        #[arg(long)]
        certificate: bool,
        /// With --certificate: write PREFIX.pem and PREFIX.key instead of printing both
        #[arg(long, value_name = "PREFIX", requires = "certificate")]
        out: Option<PathBuf>,
    },
    /// Make a certificate with which a device can connect by TLS, without a password
    #[command(alias = "certificates")]
    Certificate {
        #[command(flatten)]
        device: DeviceArgs,
        #[command(flatten)]
        args: CertificateArgs,
    },
    /// Pin a certificate to a device, whoever signed it; the device accepts no other then
    #[command(alias = "pins")]
    Pin {
        #[command(flatten)]
        args: PinArgs,
    },
    /// Register an authority with a product: a certificate that it signed lets the device in that the certificate names
    #[command(alias = "authorities")]
    Authority {
        #[command(flatten)]
        args: AuthorityArgs,
    },
    /// Bind devices to a gateway, which may then bring them online and act for them
    #[command(alias = "bindings")]
    Binding {
        #[command(flatten)]
        args: BindingArgs,
    },
    /// Make a password with which an MQTT client can be a device
    #[command(alias = "tokens")]
    Token {
        #[command(flatten)]
        device: DeviceArgs,
        #[command(flatten)]
        expiry: Expiry,
    },
    /// Make a key for a program: its name and secret are its MQTT user name and password, and its REST credentials
    #[command(alias = "keys")]
    Key {
        name: KeyName,
        /// A topic filter that it may publish to; can be given again
        #[arg(long, value_name = "FILTER", conflicts_with = "administrator")]
        publish: Vec<TopicFilter>,
        /// A topic filter that it may subscribe to; can be given again
        #[arg(long, value_name = "FILTER", conflicts_with = "administrator")]
        subscribe: Vec<TopicFilter>,
        /// It may do everything
        #[arg(long)]
        administrator: bool,
    },
    /// Keep a secret for rules, which use it as secret('NAME'); its value is read from standard input
    #[command(alias = "secrets")]
    Secret { name: SecretName },
}

pub(crate) async fn run(what: What, hub: &Hub, out: Output) -> Result<(), Failure> {
    match what {
        What::Product { id, name, kind, schema } => create_product(id, name, kind, schema, hub, out).await,
        What::Topic { product, suffix, publish, subscribe } => {
            let body = json!({"suffix": suffix, "publish": publish, "subscribe": subscribe});
            let created = hub
                .post(&["products", product.as_str(), "topics"], &body)
                .await
                .map_err(|failure| failure.see(&format!("weir get topics {product}")))?;
            out.done(&created, &format!("topic class {product}/DEVICE/{suffix} created"))
        }
        What::Device { device, certificate: false, .. } => create_device(&device, hub, out).await,
        What::Device { device, certificate: true, out: prefix } => {
            let id = device.id()?;
            let first = async { post_device(&id, hub).await.map(|_| ()) };
            certificate::create(&id, &CertificateArgs::to(prefix), first, hub, out).await
        }
        What::Certificate { device, args } => {
            let first = std::future::ready(Ok(()));
            certificate::create(&device.id()?, &args, first, hub, out).await
        }
        What::Pin { args } => pin::create(&args, hub, out).await,
        What::Binding { args } => binding::create(&args, hub, out).await,
        What::Authority { args } => authority::create(&args, hub, out).await,
        What::Token { device, expiry } => device::token(&device, &expiry, hub, out).await,
        What::Key { name, publish, subscribe, administrator } => {
            let body = json!({
                "name": name, "administrator": administrator, "publish": publish, "subscribe": subscribe,
            });
            let key = hub.post(&["keys"], &body).await?;
            let words = format!(
                "key {name} created; its secret is shown only now\n\
                 user name  {name}\n\
                 password   {secret}\n\
                 for commands: --key {name}:{secret}",
                secret = text(&key, "secret")
            );
            out.done(&key, &words)
        }
        What::Secret { name } => {
            let value = read_secret(std::io::stdin().lock())?;
            hub.put(&["secrets", name.as_str()], value).await?;
            out.done(&json!({"name": name}), &format!("secret {name} stored; rules use it as secret('{name}')"))
        }
    }
}

async fn create_product(
    id: Option<ProductId>,
    name: Option<String>,
    kind: ProductType,
    schema: Vec<(String, String)>,
    hub: &Hub,
    out: Output,
) -> Result<(), Failure> {
    let mut body = Map::new();
    if let Some(id) = id {
        body.insert("id".to_owned(), json!(id));
    }
    if let Some(name) = name {
        body.insert("name".to_owned(), json!(name));
    }
    if kind != ProductType::Device {
        body.insert("type".to_owned(), json!(kind));
    }
    if !schema.is_empty() {
        let schema: Map<String, Value> = schema.into_iter().map(|(field, kind)| (field, json!(kind))).collect();
        body.insert("schema".to_owned(), Value::Object(schema));
    }
    let product = hub.post(&["products"], &Value::Object(body)).await?;
    let id = text(&product, "id");
    out.done(&product, &format!("product {id} created\nnext: weir create device {id} NAME"))
}

async fn create_device(device: &DeviceArgs, hub: &Hub, out: Output) -> Result<(), Failure> {
    let id = device.id()?;
    let created = post_device(&id, hub).await?;
    out.done(&created, &format!("device {id} created\nnext: weir device connect {} {}", id.product, id.device))
}

async fn post_device(id: &DeviceId, hub: &Hub) -> Result<Value, Failure> {
    let path = ["products", id.product.as_str(), "devices"];
    hub.post(&path, &json!({"name": id.device})).await.map_err(|failure| {
        failure.see(&format!("weir get products\nor make it: weir create product --id {}", id.product))
    })
}

/// The whole of standard input, less one newline at its end.
pub(super) fn read_secret(input: impl Read) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    input
        .take(MAX_SECRET + 1)
        .read_to_end(&mut value)
        .map_err(|error| Failure::refused(format!("cannot read standard input: {error}")))?;
    if value.len() as u64 > MAX_SECRET {
        return Err(Failure::usage(format!("a secret has at most {MAX_SECRET} bytes")));
    }
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    if value.is_empty() {
        return Err(Failure::usage(
            "standard input is empty; write the value: printf %s VALUE | weir create secret NAME",
        ));
    }
    Ok(value)
}

fn parse_field(text: &str) -> Result<(String, String), String> {
    const TYPES: [&str; 5] = ["number", "integer", "text", "boolean", "json"];
    // A path may hold colons; a type does not.
    let Some((field, kind)) = text.rsplit_once(':').filter(|(field, _)| !field.is_empty()) else {
        return Err("write FIELD:TYPE, such as temp:number".to_owned());
    };
    if !TYPES.contains(&kind) {
        return Err(format!("{kind:?} is not a type; use one of {}", TYPES.join(", ")));
    }
    Ok((field.to_owned(), kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_is_cut_from_a_secret() {
        let read = |text: &str| read_secret(text.as_bytes());
        assert_eq!(read("a\n").unwrap(), b"a");
        assert_eq!(read("a\n\n").unwrap(), b"a\n");
        assert_eq!(read("a\r\n").unwrap(), b"a");
        assert_eq!(read(" a ").unwrap(), b" a ");
        assert!(matches!(read("\n"), Err(Failure::Usage(_))));
        assert!(matches!(read(""), Err(Failure::Usage(_))));
        assert!(matches!(read(&"x".repeat(64 * 1024 + 1)), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_field_of_a_schema_has_a_known_type() {
        assert_eq!(parse_field("pos.lat:number").unwrap(), ("pos.lat".to_owned(), "number".to_owned()));
        parse_field("temp:float").unwrap_err();
        parse_field(":text").unwrap_err();
    }
}

//! Whether a product's devices may register themselves, on the command line.

use std::io::Read;

use serde_json::{Map, Value, json};
use weir_core::ProductId;

use super::{create::read_secret, failure::Failure, hub::Hub, output::Output, output::text};

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct RegistrationArgs {
    /// Which devices may register with the product's secret: none (off), those that were made and have never connected
    /// (existing), or also such as nobody has made yet (any)
    #[arg(long = "registration", value_name = "MODE", value_parser = ["off", "existing", "any"])]
    mode: Option<String>,
    /// How many devices registration may make
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// What a device gets that does not say what it wants
    #[arg(long, value_parser = ["key", "certificate"])]
    credential: Option<String>,
    /// Make a new secret: devices that have the old one cannot register any more
    #[arg(long)]
    new_secret: bool,
    /// Read the secret from standard input: one that devices have already
    #[arg(long, conflicts_with = "new_secret")]
    read_secret: bool,
}

impl RegistrationArgs {
    fn body(&self, input: impl Read) -> Result<Value, Failure> {
        let mut body = Map::new();
        let given = [
            ("mode", self.mode.as_ref().map(|mode| json!(mode))),
            ("limit", self.limit.map(|limit| json!(limit))),
            ("credential", self.credential.as_ref().map(|credential| json!(credential))),
            ("new_secret", self.new_secret.then(|| json!(true))),
        ];
        body.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        if self.read_secret {
            let secret = String::from_utf8(read_secret(input)?);
            body.insert("secret".to_owned(), json!(secret.map_err(|_| Failure::usage("the secret is not text"))?));
        }
        Ok(Value::Object(body))
    }
}

pub(crate) async fn set(product: &ProductId, args: &RegistrationArgs, hub: &Hub, out: Output) -> Result<(), Failure> {
    let body = args.body(std::io::stdin().lock())?;
    let path = ["products", product.as_str(), "registration"];
    let now = hub.patch(&path, &body).await.map_err(|failure| failure.see("weir get products"))?;
    let who = match text(&now, "mode").as_str() {
        "off" => "no device registers".to_owned(),
        "existing" => "devices that were made register".to_owned(),
        _ => format!("devices register, of which {} may be new", text(&now, "limit")),
    };
    let words = format!("product {product}: {who}\nsee the secret: weir describe product {product} --show-secrets");
    out.done(&now, &words)
}

/// `None` if nothing was ever said of it.
pub(crate) async fn of(product: &ProductId, show_secrets: bool, hub: &Hub) -> Result<Option<Value>, Failure> {
    let mut registration = match hub.get(&["products", product.as_str(), "registration"]).await {
        Err(Failure::Refused { kind: Some(kind), .. }) if kind == "not_found" => return Ok(None),
        registration => registration?,
    };
    if !show_secrets && let Some(secret) = registration.get_mut("secret") {
        *secret = Value::from("***");
    }
    Ok(Some(registration))
}

//! `weir broadcast`: sends every device of a product a message, and shows how far it has come.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use weir_core::ProductId;

use super::{
    failure::Failure,
    hub::Hub,
    output::{Column, Output, text, time},
    progress::Bar,
    publish,
};

/// How often the hub is asked how far it is.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    product: ProductId,
    /// What each device gets on $broadcast/rxd/PRODUCT/DEVICE; - reads it from standard input
    payload: String,
    /// Quality of service: 1 waits for devices that are away and have a session, 0 does not
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// End as soon as the hub has taken it; `weir describe broadcast` shows how far it is
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let Args { product, payload, qos, no_wait } = args;
    let body = json!({"payload_base64": STANDARD.encode(publish::payload(&payload)?), "qos": qos});
    let begun = hub.post(&["products", product.as_str(), "broadcasts"], &body).await;
    let begun = begun.map_err(|failure| failure.see(&format!("weir get broadcasts {product}")))?;
    let id = text(&begun, "id");
    if no_wait {
        let words = format!("broadcast {id} begun\nsee how far it is: weir describe broadcast {product} {id}");
        return out.done(&begun, &words);
    }
    let ended = follow(&product, &id, begun, hub).await?;
    let words = match text(&ended, "state").as_str() {
        "done" => format!("broadcast {id} sent to {} devices", text(&ended, "published")),
        state => format!("broadcast {id} {state} after {} devices", text(&ended, "published")),
    };
    out.done(&ended, &words)
}

pub(crate) async fn list(product: &ProductId, hub: &Hub, out: Output) -> Result<(), Failure> {
    let columns: [Column; 6] = [
        ("ID", |broadcast| text(broadcast, "id")),
        ("STATE", |broadcast| text(broadcast, "state")),
        ("PUBLISHED", |broadcast| text(broadcast, "published")),
        ("DEVICES", |broadcast| text(broadcast, "total")),
        ("BY", |broadcast| text(broadcast, "publisher")),
        ("BEGUN", |broadcast| time(broadcast, "created_at")),
    ];
    let list = hub.get(&["products", product.as_str(), "broadcasts"]).await;
    let list = list.map_err(|failure| failure.see("weir get products"))?;
    out.list(&list, &columns, "no broadcasts; begin one: weir broadcast PRODUCT PAYLOAD")
}

pub(crate) async fn describe(product: &ProductId, id: i64, hub: &Hub) -> Result<Value, Failure> {
    hub.get(&["products", product.as_str(), "broadcasts", &id.to_string()])
        .await
        .map_err(|failure| failure.see(&format!("weir get broadcasts {product}")))
}

pub(crate) async fn cancel(product: &ProductId, id: i64, hub: &Hub, out: Output) -> Result<(), Failure> {
    let ended = hub
        .delete(&["products", product.as_str(), "broadcasts", &id.to_string()])
        .await
        .map_err(|failure| failure.see(&format!("weir get broadcasts {product}")))?;
    out.done(&ended, &format!("broadcast {id} cancelled after {} devices", text(&ended, "published")))
}

/// Until it has ended. Whoever breaks this off does not break off the broadcast.
async fn follow(product: &ProductId, id: &str, begun: Value, hub: &Hub) -> Result<Value, Failure> {
    let (mut now, mut bar) = (begun, Bar::new());
    while text(&now, "state") == "running" {
        let number = |key: &str| now.get(key).and_then(Value::as_u64).unwrap_or(0);
        bar.show(number("published"), number("total"));
        tokio::time::sleep(LOOK).await;
        now = hub.get(&["products", product.as_str(), "broadcasts", id]).await?;
    }
    Ok(now)
}

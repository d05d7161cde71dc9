//! `weir get`: lists, and what clients must trust.

use serde_json::{Value, json};
use weir_core::{DeviceId, ProductId, RuleName};

use super::{
    broadcast,
    device::DeviceArgs,
    failure::Failure,
    hub::Hub,
    output::{Column, Output, items, text, time},
    shadow,
};

/// Things asked for at a time.
const PAGE: u64 = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// Products
    #[command(visible_alias = "product")]
    Products,
    /// Devices of a product, or all
    #[command(visible_alias = "device")]
    Devices { product: Option<ProductId> },
    /// Certificates of a product or a device: those that the hub issued, and those that are pinned
    #[command(visible_alias = "certificate")]
    Certificates {
        /// The product or the device, as PRODUCT, PRODUCT DEVICE or PRODUCT/DEVICE
        #[arg(required = true, num_args = 1..=2, value_names = ["PRODUCT", "DEVICE"])]
        of: Vec<String>,
    },
    /// Devices that are bound to a gateway, and whether they are online through it
    #[command(visible_alias = "binding")]
    Bindings {
        #[command(flatten)]
        gateway: DeviceArgs,
    },
    /// Authorities that a product registered
    #[command(visible_alias = "authority")]
    Authorities { product: ProductId },
    /// Topic classes of a product: what its devices may use
    #[command(visible_alias = "topic")]
    Topics { product: ProductId },
    /// Shadows of a device, and what is left to do
    #[command(visible_alias = "shadow")]
    Shadows {
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Broadcasts to a product that run, and the last that have ended
    #[command(visible_alias = "broadcast")]
    Broadcasts { product: ProductId },
    /// Rules, and how far their actions are
    #[command(visible_alias = "rule")]
    Rules,
    /// Sinks
    #[command(visible_alias = "sink")]
    Sinks,
    /// Plugins
    #[command(visible_alias = "plugin")]
    Plugins,
    /// Indexes that were declared on shadows
    #[command(visible_alias = "index")]
    Indexes,
    /// Keys, and what they may do
    #[command(visible_alias = "key")]
    Keys,
    /// Secrets: their names
    #[command(visible_alias = "secret")]
    Secrets,
    /// The certificate of the hub's authority in PEM, which clients must trust: weir get ca > ca.pem
    Ca,
    /// Dead letters: rows that no target took
    #[command(visible_alias = "deadletter")]
    Deadletters {
        /// Those of one rule
        #[arg(long)]
        rule: Option<RuleName>,
        /// Those after this number
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: i64,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
}

pub(crate) async fn run(what: What, hub: &Hub, out: Output) -> Result<(), Failure> {
    match what {
        What::Products => {
            let columns: [Column; 7] = [
                ("ID", |product| text(product, "id")),
                ("NAME", |product| text(product, "name")),
                ("TYPE", |product| text(product, "type")),
                ("ENABLED", |product| yes_no(product, "enabled")),
                ("TOPICS", own_topics),
                ("SCHEMA", schema),
                ("CREATED", |product| time(product, "created_at")),
            ];
            out.list(&hub.get(&["products"]).await?, &columns, "no products; make one: weir create product")
        }
        What::Devices { product } => {
            let columns: [Column; 4] = [
                ("PRODUCT", |device| text(device, "product")),
                ("DEVICE", |device| text(device, "device")),
                ("ENABLED", |device| yes_no(device, "enabled")),
                ("CREATED", |device| time(device, "created_at")),
            ];
            let empty = "no devices; make one: weir create device PRODUCT NAME";
            out.list(&devices(product, hub).await?, &columns, empty)
        }
        What::Certificates { of } => {
            let columns: [Column; 5] = [
                ("DEVICE", |certificate| text(certificate, "device")),
                ("STATE", state),
                ("SERIAL", |certificate| text(certificate, "serial")),
                ("EXPIRES", |certificate| time(certificate, "expires_at")),
                ("FINGERPRINT", |certificate| text(certificate, "fingerprint")),
            ];
            let empty = "no certificates; make one: weir create certificate PRODUCT DEVICE";
            let of = of.join("/");
            let list = if of.contains('/') {
                let DeviceId { product, device } = super::device::parse_device(&of)?;
                pages(&["products", product.as_str(), "devices", device.as_str(), "certificates"], hub).await?
            } else {
                pages(&["products", &of, "certificates"], hub).await?
            };
            out.list(&list, &columns, empty)
        }
        What::Bindings { gateway } => {
            let columns: [Column; 4] = [
                ("PRODUCT", |device| text(device, "product")),
                ("DEVICE", |device| text(device, "device")),
                ("BOUND", |device| time(device, "bound_at")),
                ("ONLINE SINCE", |device| time(device, "online_since")),
            ];
            let DeviceId { product, device } = gateway.id()?;
            let list = pages(&["products", product.as_str(), "devices", device.as_str(), "bindings"], hub).await?;
            let empty = "no devices are bound to it; bind one: weir create binding PRODUCT/GATEWAY PRODUCT/DEVICE";
            out.list(&list, &columns, empty)
        }
        What::Authorities { product } => {
            let columns: [Column; 4] = [
                ("SUBJECT", |authority| text(authority, "subject")),
                ("PROVED", |authority| yes_no(authority, "proved")),
                ("EXPIRES", |authority| time(authority, "expires_at")),
                ("FINGERPRINT", |authority| text(authority, "fingerprint")),
            ];
            let list = hub.get(&["products", product.as_str(), "authorities"]).await;
            let list = list.map_err(|failure| failure.see("weir get products"))?;
            out.list(
                &list,
                &columns,
                "no authorities; register one: weir create authority PRODUCT --certificate ca.pem",
            )
        }
        What::Topics { product } => {
            let columns: [Column; 4] = [
                ("SUFFIX", |topic| text(topic, "suffix")),
                ("PUBLISH", |topic| yes_no(topic, "publish")),
                ("SUBSCRIBE", |topic| yes_no(topic, "subscribe")),
                ("DEFAULT", |topic| yes_no(topic, "default")),
            ];
            let path = ["products", product.as_str(), "topics"];
            let list = hub.get(&path).await.map_err(|failure| failure.see("weir get products"))?;
            out.list(&list, &columns, "no topic classes")
        }
        What::Shadows { device } => shadow::list(&device.id()?, hub, out).await,
        What::Broadcasts { product } => broadcast::list(&product, hub, out).await,
        What::Rules => {
            let columns: [Column; 8] = [
                ("NAME", |rule| text(rule, "name")),
                ("ENABLED", |rule| yes_no(rule, "enabled")),
                ("SOURCE", |rule| words(rule, "sources")),
                ("ACTIONS", targets),
                ("STATE", states),
                ("DELIVERED", |rule| sum(rule, "delivered")),
                ("PENDING", |rule| sum(rule, "pending")),
                ("DEAD", |rule| sum(rule, "dead_lettered")),
            ];
            out.list(&hub.get(&["rules"]).await?, &columns, "no rules; upload some: weir apply -f FILE")
        }
        What::Sinks => {
            let columns: [Column; 2] = [("NAME", |sink| text(sink, "name")), ("KIND", |sink| text(sink, "kind"))];
            out.list(&hub.get(&["sinks"]).await?, &columns, "no sinks; upload CREATE SINK … by weir apply -f FILE")
        }
        What::Plugins => {
            let columns: [Column; 5] = [
                ("NAME", |plugin| text(plugin, "name")),
                ("WORLD", |plugin| text(plugin, "world")),
                ("VERSION", |plugin| text(plugin, "version")),
                ("DIGEST", |plugin| text(plugin, "digest").chars().take(12).collect()),
                ("SIGNED BY", |plugin| text(plugin, "signed_by")),
            ];
            out.list(&hub.get(&["plugins"]).await?, &columns, "no plugins; upload one: weir plugin push FILE")
        }
        What::Indexes => {
            let columns: [Column; 3] = [
                ("NAME", |index| text(index, "name")),
                ("TABLE", |index| text(index, "table")),
                ("ON", |index| text(index, "on")),
            ];
            let empty = "no indexes; upload CREATE INDEX name ON shadows (reported.fw) by weir apply -f FILE";
            out.list(&hub.get(&["indexes"]).await?, &columns, empty)
        }
        What::Keys => {
            let columns: [Column; 4] = [
                ("NAME", |key| text(key, "name")),
                ("ADMINISTRATOR", |key| yes_no(key, "administrator")),
                ("PUBLISH", |key| words(key, "publish")),
                ("SUBSCRIBE", |key| words(key, "subscribe")),
            ];
            out.list(&hub.get(&["keys"]).await?, &columns, "no keys; make one: weir create key NAME")
        }
        What::Secrets => {
            let columns: [Column; 2] =
                [("NAME", |secret| text(secret, "name")), ("UPDATED", |secret| time(secret, "updated_at"))];
            out.list(&hub.get(&["secrets"]).await?, &columns, "no secrets; store one: weir create secret NAME")
        }
        What::Ca => {
            let pem = hub.get_text(&["ca"]).await?;
            if out.is_json() { out.json(&json!({"certificate": pem})) } else { out.line(pem.trim_end()) }
        }
        What::Deadletters { rule, after, limit } => {
            let mut query = vec![("after", after.to_string()), ("limit", limit.to_string())];
            query.extend(rule.map(|rule| ("rule", rule.to_string())));
            let columns: [Column; 5] = [
                ("ID", |letter| text(letter, "id")),
                ("RULE", |letter| text(letter, "rule")),
                ("ACTION", |letter| text(letter, "action")),
                ("TIME", |letter| time(letter, "created_at")),
                ("REASON", |letter| text(letter, "reason")),
            ];
            out.list(&hub.get_with(&["deadletters"], &query).await?, &columns, "no dead letters")
        }
    }
}

/// Every page, of one product or of all.
async fn devices(product: Option<ProductId>, hub: &Hub) -> Result<Value, Failure> {
    let products = match product {
        Some(product) => vec![product.to_string()],
        None => items(&hub.get(&["products"]).await?).iter().map(|product| text(product, "id")).collect(),
    };
    let mut all = Vec::new();
    for product in &products {
        all.extend_from_slice(items(&pages(&["products", product, "devices"], hub).await?));
    }
    Ok(json!({"total": all.len(), "items": all}))
}

/// Every page of a list of products' things.
async fn pages(path: &[&str], hub: &Hub) -> Result<Value, Failure> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let query = [("offset", offset.to_string()), ("limit", PAGE.to_string())];
        let page = hub.get_with(path, &query).await.map_err(|failure| failure.see("weir get products"))?;
        let found = items(&page);
        offset += found.len() as u64;
        all.extend_from_slice(found);
        let total = page.get("total").and_then(Value::as_u64).unwrap_or(0);
        if found.is_empty() || offset >= total {
            return Ok(json!({"total": all.len(), "items": all}));
        }
    }
}

/// What a certificate is good for, as far as the list tells.
fn state(certificate: &Value) -> String {
    let is = |key: &str| certificate.get(key).and_then(Value::as_bool).unwrap_or(false);
    let revoked = certificate.get("revoked_at").is_some_and(|at| !at.is_null());
    let words = [("issued", is("issued")), ("pinned", is("pinned")), ("revoked", revoked)];
    words.into_iter().filter(|(_, is)| *is).map(|(word, _)| word).collect::<Vec<_>>().join(", ")
}

fn yes_no(item: &Value, key: &str) -> String {
    if item.get(key).and_then(Value::as_bool).unwrap_or(false) { "yes" } else { "no" }.to_owned()
}

fn words(item: &Value, key: &str) -> String {
    let words = item.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(", ")
}

fn schema(product: &Value) -> String {
    let fields = product.get("schema").and_then(Value::as_object).into_iter().flatten();
    fields.map(|(field, kind)| format!("{field}:{}", kind.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

/// The suffixes that a product has beside the defaults.
fn own_topics(product: &Value) -> String {
    let topics = product.get("topics").and_then(Value::as_array).into_iter().flatten();
    let own = topics.filter(|topic| topic.get("default").and_then(Value::as_bool) == Some(false));
    own.map(|topic| text(topic, "suffix")).collect::<Vec<_>>().join(", ")
}

fn actions(rule: &Value) -> impl Iterator<Item = &Value> {
    rule.get("actions").and_then(Value::as_array).into_iter().flatten()
}

fn targets(rule: &Value) -> String {
    actions(rule).map(|action| text(action, "target")).collect::<Vec<_>>().join(", ")
}

/// The state of every action, or the one that all share.
fn states(rule: &Value) -> String {
    let mut states: Vec<String> = actions(rule).map(|action| text(action, "state").replace('_', " ")).collect();
    states.dedup();
    states.join(", ")
}

fn sum(rule: &Value, key: &str) -> String {
    actions(rule).filter_map(|action| action.get(key).and_then(Value::as_u64)).sum::<u64>().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_listed_with_the_topics_it_has_beside_the_defaults() {
        let product = json!({"topics": [
            {"suffix": "event", "default": true},
            {"suffix": "cmd", "default": false},
            {"suffix": "up/+", "default": false},
        ]});
        assert_eq!(own_topics(&product), "cmd, up/+");
    }

    #[test]
    fn a_rule_is_summed_up_over_its_actions() {
        let rule = json!({"name": "r", "actions": [
            {"target": "republish", "state": "running", "delivered": 2},
            {"target": "webhook", "state": "running", "delivered": 3},
        ]});
        assert_eq!(targets(&rule), "republish, webhook");
        assert_eq!(states(&rule), "running");
        assert_eq!(sum(&rule, "delivered"), "5");
        assert_eq!(sum(&rule, "pending"), "0");
    }
}

//! Shadows in commands: which one, a list, one with its history, and its deletion.

use reqwest::Method;
use serde_json::{Map, Value, json};
use weir_core::{DeviceId, ShadowName, shadow::ShadowTopic};

use super::{
    device::DeviceArgs,
    failure::Failure,
    hub::Hub,
    output::{Column, Output, plain, table, text, time, utc},
};

/// Changes that `describe` shows.
const HISTORY: usize = 10;

/// A shadow in arguments.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Which {
    #[command(flatten)]
    device: DeviceArgs,
    /// A named shadow, instead of the device's classic one
    #[arg(long)]
    name: Option<ShadowName>,
}

impl Which {
    pub(crate) async fn ask(
        &self,
        method: Method,
        query: &[(&str, String)],
        body: Option<&Value>,
        hub: &Hub,
    ) -> Result<Value, Failure> {
        let id = self.device.id()?;
        let mut query = query.to_vec();
        query.extend(self.name.as_ref().map(|name| ("name", name.to_string())));
        let path = ["products", id.product.as_str(), "devices", id.device.as_str(), "shadow"];
        let see = match &self.name {
            Some(_) => format!("weir get shadows {id}"),
            None => format!("weir get devices {}", id.product),
        };
        hub.ask(method, &path, &query, body).await.map_err(|failure| failure.see(&see))
    }

    /// What it is called in sentences.
    pub(crate) fn title(&self) -> Result<String, Failure> {
        let id = self.device.id()?;
        Ok(match &self.name {
            Some(name) => format!("shadow {name} of device {id}"),
            None => format!("the shadow of device {id}"),
        })
    }
}

pub(crate) async fn list(id: &DeviceId, hub: &Hub, out: Output) -> Result<(), Failure> {
    let columns: [Column; 5] = [
        ("NAME", |shadow| match text(shadow, "name") {
            name if name.is_empty() => "(classic)".to_owned(),
            name => name,
        }),
        ("VERSION", |shadow| text(shadow, "version")),
        ("CHANGED", |shadow| time(shadow, "timestamp")),
        ("REPORTED", |shadow| part(shadow, "reported")),
        ("LEFT TO DO", |shadow| part(shadow, "delta")),
    ];
    let path = ["products", id.product.as_str(), "devices", id.device.as_str(), "shadows"];
    let list = hub.get(&path).await.map_err(|failure| failure.see(&format!("weir get devices {}", id.product)))?;
    out.list(&list, &columns, &format!("no shadows yet; set one: weir set shadow {id} --desired '{{\"fw\":\"1.2\"}}'"))
}

/// One part of the state as text.
fn part(shadow: &Value, name: &str) -> String {
    shadow.get("state").and_then(|state| state.get(name)).map(ToString::to_string).unwrap_or_default()
}

pub(crate) async fn describe(which: &Which, hub: &Hub, out: Output) -> Result<(), Failure> {
    let mut shadow = which.ask(Method::GET, &[], None, hub).await?;
    let history = history(which, hub).await;
    if out.is_json() {
        if let (Some(shadow), Ok(history)) = (shadow.as_object_mut(), history) {
            shadow.insert("history".to_owned(), Value::Array(history));
        }
        return out.json(&shadow);
    }
    let version = shadow.get("version").and_then(Value::as_u64).unwrap_or_default();
    let changed = match shadow.get("timestamp").and_then(Value::as_i64) {
        Some(at) => format!(", changed {}", utc(at)),
        None => String::new(),
    };
    out.line(&format!("{}: version {version}{changed}", which.title()?))?;
    let keys = keys(&shadow);
    if keys.is_empty() {
        out.line("nothing is reported and nothing is desired")?;
    } else {
        let columns: [Column; 4] = [
            ("KEY", |key| text(key, "key")),
            ("REPORTED", |key| text(key, "reported")),
            ("DESIRED", |key| text(key, "desired")),
            ("LEFT TO DO", |key| text(key, "delta")),
        ];
        out.line(&format!("\n{}", table(&keys, &columns)))?;
    }
    match history {
        Ok(history) if !history.is_empty() => {
            let columns: [Column; 5] = [
                ("TIME", |row| text(row, "time")),
                ("BY", |row| text(row, "publisher")),
                ("ASKED FOR", |row| text(row, "type")),
                ("STATE", |row| text(row, "state")),
                ("FOR VERSION", |row| text(row, "version")),
            ];
            out.line(&format!("\nThe last {} requests, newest first:\n{}", history.len(), table(&history, &columns)))
        }
        Ok(_) => Ok(()),
        Err(failure) => {
            // Only administrators may query; what is above is complete without.
            eprintln!("its history is not shown: {}", failure.message());
            Ok(())
        }
    }
}

/// Each key of either part, with its values.
fn keys(shadow: &Value) -> Vec<Value> {
    let part = |name: &str| shadow.get("state").and_then(|state| state.get(name)).and_then(Value::as_object);
    let (reported, desired, delta) = (part("reported"), part("desired"), part("delta"));
    let mut keys: Vec<&String> = reported.into_iter().chain(desired).flat_map(Map::keys).collect();
    keys.sort();
    keys.dedup();
    let value = |part: Option<&Map<String, Value>>, key: &str| {
        part.and_then(|part| part.get(key)).map(ToString::to_string).unwrap_or_default()
    };
    let row = |key: &String| json!({"key": key, "reported": value(reported, key), "desired": value(desired, key), "delta": value(delta, key)});
    keys.into_iter().map(row).collect()
}

/// The last requests to a shadow, as the log has them: also those that were refused.
async fn history(which: &Which, hub: &Hub) -> Result<Vec<Value>, Failure> {
    let topic = ShadowTopic { device: which.device.id()?, name: which.name.clone() }.request();
    let sql = format!(
        "SELECT msg.time, msg.publisher, type, state, version FROM '{topic}' WHERE type <> 'get' \
         ORDER BY msg.offset DESC LIMIT {HISTORY}"
    );
    let answer = hub.post(&["query"], &json!({"sql": sql})).await?;
    let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<String> = list("columns").iter().map(|column| text(column, "name")).collect();
    let row = |row: &Value| {
        let values = row.as_array().cloned().unwrap_or_default();
        Value::Object(names.iter().cloned().zip(values).collect())
    };
    Ok(list("rows").iter().map(row).collect())
}

pub(crate) async fn delete(which: &Which, version: u64, hub: &Hub, out: Output) -> Result<(), Failure> {
    which.ask(Method::DELETE, &[("version", version.to_string())], None, hub).await?;
    let title = which.title()?;
    out.done(&json!({"deleted": plain(&Value::from(title.as_str()))}), &format!("{title} deleted"))
}

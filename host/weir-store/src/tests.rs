//! The store through its public interface, on real files.

mod bindings;
mod broadcasts;
mod certificates;
mod opening;
mod plugins;
mod progress;
mod registrations;
mod resources;
mod shadows;
mod tables;
mod writing;

use tempfile::TempDir;
use weir_core::{DeviceId, KeyName, Offset, ProductId, RuleName, Timestamp};

use crate::{NewProduct, NewRule, RuleRow, Store};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// The folder lives as long as the store.
fn fresh() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn product() -> ProductId {
    "A1B2C3D4E5".parse().unwrap()
}

fn device(name: &str) -> DeviceId {
    DeviceId { product: product(), device: name.parse().unwrap() }
}

fn rule(name: &str) -> RuleName {
    name.parse().unwrap()
}

fn key(name: &str) -> KeyName {
    name.parse().unwrap()
}

async fn with_product(store: &Store) {
    store.create_product(NewProduct { id: Some(product()), ..NewProduct::default() }, NOW).await.unwrap();
}

async fn with_rule(store: &Store, name: &str, text: &str, actions: u32) -> RuleRow {
    let new = NewRule {
        name: rule(name),
        text: text.to_owned(),
        owner: key("admin"),
        enabled: true,
        start: Offset::new(1, 5),
        actions,
    };
    store.put_rule(new, NOW).await.unwrap()
}

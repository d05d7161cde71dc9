//! Plugins, and what they keep.

use weir_core::plugin::{PluginSummary, PluginValues, PluginWorld};

use super::*;

fn summary(digest: &str) -> PluginSummary {
    PluginSummary {
        digest: digest.to_owned(),
        world: PluginWorld::Sink,
        size: 4,
        imports: vec!["http".to_owned()],
        signed_by: Some("ops".to_owned()),
        warnings: Vec::new(),
    }
}

#[tokio::test]
async fn a_plugin_is_kept_with_its_component_and_counts_its_versions() {
    let (folder, store) = fresh();
    let name = "influxdb".parse().unwrap();
    let put = async |store: &Store, digest: &str, component: &[u8]| {
        store.put_plugin(&name, &summary(digest), component.into(), NOW).await.unwrap()
    };
    assert_eq!(put(&store, "aa", b"one").await, 1);
    assert_eq!(put(&store, "aa", b"one").await, 1);
    assert_eq!(put(&store, "bb", b"two").await, 2);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    let row = store.plugin(&name).unwrap().unwrap();
    assert_eq!((row.version, &row.summary), (2, &summary("bb")));
    assert_eq!(store.plugins().await.unwrap(), [row]);
    assert_eq!(store.plugin_component(&name).await.unwrap().as_deref(), Some(b"two".as_slice()));
    store.delete_plugin(&name).await.unwrap();
    assert_eq!(store.plugin(&name).unwrap(), None);
    assert!(matches!(store.delete_plugin(&name).await, Err(crate::StoreError::Missing { .. })));
}

#[tokio::test]
async fn keys_and_values_are_each_owners_own_and_bounded() {
    let (_folder, store) = fresh();
    let set = async |owner: &str, key: &str, value: &[u8]| store.set(owner, key, value.to_vec(), 10).await.unwrap();
    assert!(set("sink a", "key", b"1234567").await);
    assert!(!set("sink a", "k", b"").await);
    assert!(set("sink a", "key", b"123").await, "what it replaces does not count");
    assert!(set("sink b", "key", b"other").await);
    assert_eq!(store.get("sink a", "key").await.unwrap().as_deref(), Some(b"123".as_slice()));
    PluginValues::delete(&store, "sink a", "key").await.unwrap();
    assert_eq!(store.get("sink a", "key").await.unwrap(), None);
    assert_eq!(store.get("sink b", "key").await.unwrap().as_deref(), Some(b"other".as_slice()));

    store.put_sink(&"b".parse().unwrap(), "plugin.x", "CREATE SINK b USING plugin.x", NOW).await.unwrap();
    store.delete_sink(&"b".parse().unwrap()).await.unwrap();
    assert_eq!(store.get("sink b", "key").await.unwrap(), None, "they go with their sink");
}

//! Shadows and their cursor.

use std::sync::Arc;

use weir_core::shadow::Encoded;

use super::*;
use crate::{ShadowRow, ShadowStep};

fn shadow(name: &str, shadow: Option<&str>, version: u64) -> ShadowRow {
    ShadowRow {
        device: device(name),
        name: shadow.map(|name| name.parse().unwrap()),
        document: Encoded { reported: Some(format!(r#"{{"n":{version}}}"#)), desired: None, metadata: "{}".to_owned() },
        version,
        changed_at: NOW,
    }
}

fn step(position: Offset, shadows: Vec<ShadowRow>) -> Arc<ShadowStep> {
    Arc::new(ShadowStep { position, shadows, forgotten: Vec::new() })
}

#[tokio::test]
async fn a_step_is_saved_with_its_position() {
    let (folder, store) = fresh();
    with_product(&store).await;
    store.create_device(&device("a"), None, NOW).await.unwrap();
    assert_eq!(store.shadow_position().await.unwrap(), None);
    let rows = vec![shadow("a", None, 1), shadow("a", Some("fw"), u64::MAX), shadow("gone", None, 1)];
    store.commit_shadows(step(Offset::new(2, 10), rows)).await.unwrap();
    store.commit_shadows(step(Offset::new(2, 11), vec![shadow("a", None, 2)])).await.unwrap();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.shadow_position().await.unwrap(), Some(Offset::new(2, 11)));
    let found = store.shadows_of(vec![device("a"), device("gone")]).await.unwrap();
    assert_eq!(found, [Some(vec![shadow("a", None, 2), shadow("a", Some("fw"), u64::MAX)]), None]);
}

#[tokio::test]
async fn a_device_takes_its_shadows_with_it() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    for name in ["a", "b"] {
        store.create_device(&device(name), None, NOW).await.unwrap();
    }
    let rows = vec![shadow("a", None, 1), shadow("a", Some("x"), 1), shadow("b", None, 1), shadow("b", Some("x"), 1)];
    store.commit_shadows(step(Offset::new(1, 1), rows)).await.unwrap();
    store.delete_device(&device("a"), NOW).await.unwrap();
    store.create_device(&device("a"), None, NOW).await.unwrap();
    let forgotten =
        ShadowStep { position: Offset::new(1, 2), shadows: vec![shadow("b", None, 9)], forgotten: vec![device("b")] };
    store.commit_shadows(Arc::new(forgotten)).await.unwrap();
    let found = store.shadows_of(vec![device("a"), device("b")]).await.unwrap();
    assert_eq!(found, [Some(Vec::new()), Some(vec![shadow("b", None, 9)])]);
}

//! Broadcasts: one at a time for a product, in steps, until done or cancelled.

use weir_core::{DeviceName, Qos};

use super::*;
use crate::{BroadcastId, BroadcastState, BroadcastStep, NewBroadcast, StoreError};

fn new() -> NewBroadcast {
    let publisher = "administrator:admin".to_owned();
    NewBroadcast { product: product(), publisher, qos: Qos::AtLeastOnce, payload: b"hello".to_vec() }
}

fn step(id: BroadcastId, position: Option<&str>, published: u64, last: bool) -> BroadcastStep {
    BroadcastStep { id, position: position.map(|name| name.parse().unwrap()), published, last }
}

#[tokio::test]
async fn it_goes_step_by_step_and_over_an_opening() {
    let (folder, store) = fresh();
    with_product(&store).await;
    for name in ["a", "b", "c"] {
        store.create_device(&device(name), None, NOW).await.unwrap();
    }
    let begun = store.create_broadcast(new(), 9, NOW).await.unwrap();
    assert_eq!((begun.total, begun.published, begun.position.as_ref()), (3, 0, None));
    let running = StoreError::Exists { what: "running broadcast to product", name: "A1B2C3D4E5".to_owned() };
    assert_eq!(store.create_broadcast(new(), 9, NOW).await, Err(running));

    let names = |behind: Option<&'static str>| {
        let store = store.clone();
        async move {
            let behind: Option<DeviceName> = behind.map(|name| name.parse().unwrap());
            let names = store.device_names(&product(), behind.as_ref(), 2).await.unwrap();
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(None).await, ["a", "b"]);
    assert_eq!(store.commit_broadcast(step(begun.id, Some("b"), 2, false), NOW).await, Ok(true));
    assert_eq!(names(Some("b")).await, ["c"]);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    let [found] = &store.running_broadcasts().await.unwrap()[..] else { panic!("one runs") };
    assert_eq!((found.published, found.position.as_ref().unwrap().as_str()), (2, "b"));
    assert_eq!(store.commit_broadcast(step(begun.id, Some("c"), 1, true), NOW).await, Ok(false));
    assert!(store.running_broadcasts().await.unwrap().is_empty());
    let done = store.broadcast(&product(), begun.id).await.unwrap();
    assert_eq!((done.state, done.published, done.ended_at), (BroadcastState::Done, 3, Some(NOW)));
    // It stays as it is.
    assert_eq!(store.cancel_broadcast(&product(), begun.id, NOW).await.unwrap(), done);
}

#[tokio::test]
async fn what_is_cancelled_goes_no_further() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    let begun = store.create_broadcast(new(), 1, NOW).await.unwrap();
    let other: ProductId = "EMPTY00001".parse().unwrap();
    store.create_product(NewProduct { id: Some(other.clone()), ..NewProduct::default() }, NOW).await.unwrap();
    let too_many = store.create_broadcast(NewBroadcast { product: other.clone(), ..new() }, 1, NOW).await;
    assert!(matches!(too_many, Err(StoreError::TooMany { limit: 1, .. })), "{too_many:?}");
    assert!(matches!(store.broadcast(&other, begun.id).await, Err(StoreError::Missing { .. })));
    let cancelled = store.cancel_broadcast(&product(), begun.id, NOW).await.unwrap();
    assert_eq!(cancelled.state, BroadcastState::Cancelled);
    assert_eq!(store.commit_broadcast(step(begun.id, Some("a"), 1, false), NOW).await, Ok(false));
    let counted = store.broadcast(&product(), begun.id).await.unwrap();
    assert_eq!((counted.state, counted.published), (BroadcastState::Cancelled, 1));
    assert_eq!(store.commit_broadcast(step(BroadcastId(99), None, 1, false), NOW).await, Ok(false));
    let nobodys = NewBroadcast { product: "NOPRODUCT1".parse().unwrap(), ..new() };
    assert!(matches!(store.create_broadcast(nobodys, 9, NOW).await, Err(StoreError::Missing { .. })));
}

#[tokio::test]
async fn the_last_hundred_that_ended_are_remembered() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    let mut last = BroadcastId(0);
    for _ in 0..103 {
        last = store.create_broadcast(new(), 1, NOW).await.unwrap().id;
        store.commit_broadcast(step(last, None, 0, true), NOW).await.unwrap();
    }
    store.create_broadcast(new(), 1, NOW).await.unwrap();
    let found = store.broadcasts(&product()).await.unwrap();
    assert_eq!((found.len(), found[1].id, found[100].id.0), (101, last, last.0 - 99));
    store.delete_product(&product()).await.unwrap();
    assert!(store.broadcasts(&product()).await.unwrap().is_empty());
}

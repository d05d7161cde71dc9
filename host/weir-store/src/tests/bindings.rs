//! Gateways and the devices that are bound to them.

use weir_core::{Classify, ErrorKind, ProductType};

use super::*;
use crate::{BindLimits, Bound, NewBinding, StoreError, UsedSignature};

const LIMITS: BindLimits = BindLimits { devices: 3, products: 10, signatures_from: 1_000 };

fn gateway(name: &str) -> DeviceId {
    format!("GATEWAY001/{name}").parse().unwrap()
}

fn new(name: &str) -> NewBinding {
    NewBinding { device: device(name), signature: None }
}

fn signed(name: &str, random: i64, timestamp: i64) -> NewBinding {
    NewBinding { device: device(name), signature: Some(UsedSignature { random, timestamp }) }
}

async fn with_gateways(store: &Store) {
    with_product(store).await;
    let new = NewProduct { id: "GATEWAY001".parse().ok(), kind: ProductType::Gateway, ..NewProduct::default() };
    assert_eq!(store.create_product(new, NOW).await.unwrap().kind, ProductType::Gateway);
    for id in [gateway("g"), gateway("h"), device("a"), device("b"), device("c"), device("d")] {
        store.create_device(&id, None, NOW).await.unwrap();
    }
    assert_eq!(store.device(&gateway("g")).unwrap().unwrap().kind, ProductType::Gateway);
    assert_eq!(store.product(&product()).unwrap().unwrap().kind, ProductType::Device);
}

#[tokio::test]
async fn a_device_has_one_gateway() {
    let (folder, store) = fresh();
    with_gateways(&store).await;
    let bind = async |gateway: &DeviceId, devices: Vec<NewBinding>| {
        store.bind(gateway, devices, false, LIMITS, NOW).await.unwrap()
    };
    let foreign = NewBinding { device: gateway("h"), signature: None };
    let outcomes = bind(&gateway("g"), vec![new("a"), new("a"), new("nobody"), foreign]).await;
    assert_eq!(outcomes, [Bound::Done, Bound::Already, Bound::NoDevice, Bound::NoSubDevice]);
    assert_eq!(bind(&gateway("h"), vec![new("a"), new("d")]).await, [Bound::Elsewhere, Bound::Done]);
    assert_eq!(bind(&gateway("g"), vec![new("b"), new("c")]).await, [Bound::Done, Bound::Done]);

    let (page, total) = store.bindings(&gateway("g"), None, 1, 1).await.unwrap();
    assert_eq!((page[0].device.clone(), page.len(), total), (device("b"), 1, 3));
    let (none, total) = store.bindings(&gateway("g"), Some(&"GATEWAY001".parse().unwrap()), 0, 9).await.unwrap();
    assert_eq!((none.len(), total), (0, 0));
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    let found = store.binding(&device("a")).unwrap().unwrap();
    assert_eq!((found.gateway, found.bound_at, found.may_connect), (gateway("g"), NOW, true));

    assert_eq!(store.unbind(&gateway("h"), vec![device("a"), device("d")]).await.unwrap(), [false, true]);
    assert_eq!(store.binding(&device("d")).unwrap(), None);
    store.set_device_enabled(&device("a"), false).await.unwrap();
    assert!(!store.binding(&device("a")).unwrap().unwrap().may_connect);
    // Whichever of the two goes, the binding goes with it.
    store.delete_device(&device("a"), NOW).await.unwrap();
    assert_eq!(store.bindings(&gateway("g"), None, 0, 9).await.unwrap().1, 2);
    store.delete_device(&gateway("g"), NOW).await.unwrap();
    assert_eq!(store.binding(&device("b")).unwrap(), None);
}

#[tokio::test]
async fn all_are_bound_or_none() {
    let (_folder, store) = fresh();
    with_gateways(&store).await;
    let bind = async |gateway: &DeviceId, names: &[&str]| {
        store.bind(gateway, names.iter().map(|name| new(name)).collect(), true, LIMITS, NOW).await
    };
    let error = bind(&device("a"), &["b"]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "device A1B2C3D4E5/a is no gateway: its product must be of that type, which is said when it is made"
    );
    assert_eq!(bind(&gateway("nobody"), &["b"]).await.unwrap_err().kind(), ErrorKind::NotFound);
    let error = bind(&gateway("g"), &["a", "b", "c", "d"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.to_string(), "gateway GATEWAY001/g has 3 bound devices, the most it may have: delete some first");
    assert_eq!(store.binding(&device("a")).unwrap(), None);
    bind(&gateway("g"), &["a", "b"]).await.unwrap();
    let error = bind(&gateway("h"), &["c", "a"]).await.unwrap_err();
    assert_eq!(error, StoreError::BoundElsewhere("A1B2C3D4E5/a".to_owned()));
    assert_eq!(store.binding(&device("c")).unwrap(), None);
    assert_eq!(bind(&gateway("g"), &["a", "c"]).await.unwrap(), [Bound::Already, Bound::Done]);
}

#[tokio::test]
async fn a_signature_serves_once() {
    let (_folder, store) = fresh();
    with_gateways(&store).await;
    let bind = async |binding: NewBinding, limits: BindLimits| {
        let outcome = store.bind(&gateway("g"), vec![binding], false, limits, NOW).await.unwrap();
        store.unbind(&gateway("g"), vec![device("a")]).await.unwrap();
        outcome[0]
    };
    assert_eq!(bind(signed("a", 7, 1_000), LIMITS).await, Bound::Done);
    assert_eq!(bind(signed("a", 7, 1_000), LIMITS).await, Bound::Used);
    assert_eq!(bind(signed("a", 8, 1_000), LIMITS).await, Bound::Done);
    assert_eq!(bind(signed("a", 7, 1_001), LIMITS).await, Bound::Done);
    for n in 0..61 {
        assert_eq!(bind(signed("a", n, 1_002), LIMITS).await, Bound::Done);
    }
    // As many as are remembered; then those that are too old go, and there is room.
    assert_eq!(bind(signed("a", 99, 1_002), LIMITS).await, Bound::Used);
    let later = BindLimits { signatures_from: 1_001, ..LIMITS };
    assert_eq!(bind(signed("a", 99, 1_002), later).await, Bound::Done);
}

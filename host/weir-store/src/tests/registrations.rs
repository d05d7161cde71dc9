//! Registration: the secret, the limit, and devices that registered.

use super::*;
use crate::{RegistrationChange, RegistrationCredential, RegistrationMode, SecretChange, StoreError};

fn change(mode: RegistrationMode, limit: Option<u32>) -> RegistrationChange {
    RegistrationChange { mode: Some(mode), limit, ..RegistrationChange::default() }
}

#[tokio::test]
async fn a_secret_is_made_kept_and_replaced() {
    let (folder, store) = fresh();
    with_product(&store).await;
    assert_eq!(store.registration(&product()).unwrap(), None);
    let first = store.change_registration(&product(), change(RegistrationMode::Existing, None)).await.unwrap();
    assert_eq!((first.secret.len(), first.limit, first.credential), (24, 1_000, RegistrationCredential::Key));
    let kept = store.change_registration(&product(), change(RegistrationMode::Any, Some(7))).await.unwrap();
    assert_eq!((kept.mode, kept.limit, &kept.secret), (RegistrationMode::Any, 7, &first.secret));
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.registration(&product()).unwrap(), Some(kept));
    let with = |secret| RegistrationChange { secret, ..RegistrationChange::default() };
    let given = SecretChange::Given("hzvf5LF9S0isvBhDSauWMaIk".to_owned());
    let given = store.change_registration(&product(), with(given)).await.unwrap();
    assert_eq!((given.mode, given.secret.as_str()), (RegistrationMode::Any, "hzvf5LF9S0isvBhDSauWMaIk"));
    let new = store.change_registration(&product(), with(SecretChange::New)).await.unwrap();
    assert!(new.secret != given.secret && new.secret != first.secret);
    let nobodys = store.change_registration(&"NOPRODUCT1".parse().unwrap(), change(RegistrationMode::Any, None)).await;
    assert!(matches!(nobodys, Err(StoreError::Missing { .. })));
    assert!(!format!("{new:?}").contains(&new.secret));
    store.close().await;
    let bytes = std::fs::read(folder.path().join("store.sqlite")).unwrap();
    let secret = new.secret.as_bytes();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret), "the secret lies open on the disk");
}

#[tokio::test]
async fn no_more_devices_register_than_may_and_a_deleted_one_makes_room() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    store.create_device(&device("made"), None, NOW).await.unwrap();
    let too_many = |limit| {
        let of = "product A1B2C3D4E5".to_owned();
        Err(StoreError::TooMany { what: "devices that registered themselves", of, limit })
    };
    assert_eq!(store.register_device(&device("a"), NOW).await, too_many(0));
    store.change_registration(&product(), change(RegistrationMode::Any, Some(2))).await.unwrap();
    let made = store.register_device(&device("a"), NOW).await.unwrap();
    assert_eq!(store.device(&device("a")).unwrap(), Some(made));
    store.register_device(&device("b"), NOW).await.unwrap();
    assert!(matches!(store.register_device(&device("b"), NOW).await, Err(StoreError::Exists { .. })));
    assert_eq!(store.register_device(&device("c"), NOW).await, too_many(2));
    assert_eq!(store.device(&device("c")).unwrap(), None);
    store.delete_device(&device("made"), NOW).await.unwrap();
    assert_eq!(store.register_device(&device("c"), NOW).await, too_many(2));
    store.delete_device(&device("a"), NOW).await.unwrap();
    store.register_device(&device("c"), NOW).await.unwrap();
    assert_eq!(store.registration(&product()).unwrap().unwrap().registered, 2);
    store.change_registration(&product(), change(RegistrationMode::Existing, Some(9))).await.unwrap();
    assert_eq!(store.register_device(&device("d"), NOW).await, too_many(9));
}

#[tokio::test]
async fn the_first_connect_is_kept_until_it_is_forgotten() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    store.create_device(&device("a"), None, NOW).await.unwrap();
    let activated = || store.device(&device("a")).unwrap().unwrap().activated_at;
    assert_eq!(activated(), None);
    store.activate_devices(vec![device("a"), device("gone")], NOW).await.unwrap();
    store.activate_devices(vec![device("a")], Timestamp(NOW.0 + 1)).await.unwrap();
    assert_eq!(activated(), Some(NOW));
    store.deactivate_device(&device("a")).await.unwrap();
    assert_eq!(activated(), None);
    assert!(matches!(store.deactivate_device(&device("gone")).await, Err(StoreError::Missing { .. })));
}

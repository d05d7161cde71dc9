//! Products, devices, tokens, keys, rules, sinks, secrets, snapshots.

use weir_core::{Classify, ErrorKind, Grants, TopicClass, seams::FieldType};

use super::*;
use crate::{ActionProgress, ERROR_ACTION, Progress, Role, StoreError, TOKENS_PER_DEVICE, TokenCheck};

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn products() {
    let (_folder, store) = fresh();
    let schema = vec![("z".to_owned(), FieldType::Number), ("a".to_owned(), FieldType::Text)];
    let new = NewProduct { id: Some(product()), name: "Panels".to_owned(), schema, ..NewProduct::default() };
    let made = store.create_product(new.clone(), NOW).await.unwrap();
    assert_eq!(store.product(&product()).unwrap().as_ref(), Some(&made));
    assert_eq!(made.schema, new.schema, "the order of the schema is kept");
    assert_eq!(kind(store.create_product(new, NOW).await), ErrorKind::Conflict);

    let random = store.create_product(NewProduct::default(), NOW).await.unwrap();
    assert_eq!(store.products().await.unwrap().len(), 2);
    store.delete_product(&random.id).await.unwrap();
    assert_eq!(kind(store.delete_product(&random.id).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_product_with_devices_is_not_deleted() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    store.create_device(&device("a"), None, NOW).await.unwrap();
    let error = store.delete_product(&product()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.to_string(), "product A1B2C3D4E5 still has 1 device(s): delete them first");
    store.delete_device(&device("a"), NOW).await.unwrap();
    store.delete_product(&product()).await.unwrap();
}

#[tokio::test]
async fn topics() {
    let (_folder, store) = fresh();
    let class = |suffix: &str, publish, subscribe| TopicClass { suffix: suffix.parse().unwrap(), publish, subscribe };
    assert_eq!(kind(store.create_topic(&product(), class("a", true, false), 2).await), ErrorKind::NotFound);
    with_product(&store).await;
    let id = product();
    store.create_topic(&id, class("up/+", true, false), 2).await.unwrap();
    store.create_topic(&id, class("down", false, true), 2).await.unwrap();
    assert_eq!(kind(store.create_topic(&id, class("down", true, true), 9).await), ErrorKind::Conflict);
    let error = store.create_topic(&id, class("more", true, true), 2).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "product A1B2C3D4E5 has 2 topic classes of its own, the most it may have: delete one first"
    );
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(store.topics(&id).await.unwrap(), [class("down", false, true), class("up/+", true, false)]);

    store.change_topic(&id, class("down", true, true)).await.unwrap();
    assert_eq!(kind(store.change_topic(&id, class("more", true, true)).await), ErrorKind::NotFound);
    store.delete_topic(&id, &"up/+".parse().unwrap()).await.unwrap();
    assert_eq!(kind(store.delete_topic(&id, &"up/+".parse().unwrap()).await), ErrorKind::NotFound);
    let all = store.all_topics().await.unwrap();
    assert_eq!(all.into_iter().collect::<Vec<_>>(), [(id.clone(), vec![class("down", true, true)])]);

    store.delete_product(&id).await.unwrap();
    with_product(&store).await;
    assert!(store.topics(&id).await.unwrap().is_empty(), "a product made again has nothing of the old one");
}

#[tokio::test]
async fn a_disabled_product_keeps_its_devices_out() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    store.create_device(&device("a"), None, NOW).await.unwrap();
    store.set_product_enabled(&product(), false).await.unwrap();
    assert!(!store.product(&product()).unwrap().unwrap().enabled);
    let made = store.create_device(&device("b"), None, NOW).await.unwrap();
    for found in [store.device(&device("a")).unwrap().unwrap(), made] {
        assert!(found.enabled && !found.may_connect(), "{found:?}");
    }
    assert!(store.devices(&product(), 0, 9).await.unwrap().0.iter().all(|device| !device.product_enabled));
    store.set_product_enabled(&product(), true).await.unwrap();
    assert!(store.device(&device("a")).unwrap().unwrap().may_connect());
    store.delete_device(&device("a"), NOW).await.unwrap();
    store.delete_device(&device("b"), NOW).await.unwrap();
    store.delete_product(&product()).await.unwrap();
    assert_eq!(kind(store.set_product_enabled(&product(), true).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn devices() {
    let (_folder, store) = fresh();
    assert_eq!(kind(store.create_device(&device("a"), None, NOW).await), ErrorKind::NotFound);
    with_product(&store).await;
    for name in ["c", "a", "b"] {
        store.create_device(&device(name), None, NOW).await.unwrap();
    }
    assert_eq!(kind(store.create_device(&device("a"), None, NOW).await), ErrorKind::Conflict);
    assert_eq!(kind(store.create_device(&device("d"), Some(vec![0; 49]), NOW).await), ErrorKind::TooLarge);

    let (page, total) = store.devices(&product(), 1, 1).await.unwrap();
    assert_eq!(page.iter().map(|device| device.id.device.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(total, 3);
    assert!(store.devices(&product(), u64::MAX, 10).await.unwrap().0.is_empty());

    let made = store.device(&device("a")).unwrap().unwrap();
    assert_eq!(made.psk.len(), 16);
    assert!(made.enabled);
    assert!(!format!("{made:?}").contains(&format!("{:?}", made.psk)));
    store.set_device_enabled(&device("a"), false).await.unwrap();
    assert!(!store.device(&device("a")).unwrap().unwrap().enabled);
    assert_eq!(kind(store.set_device_enabled(&device("z"), true).await), ErrorKind::NotFound);
    store.delete_device(&device("a"), NOW).await.unwrap();
    assert_eq!(store.device(&device("a")).unwrap(), None);
    assert_eq!(kind(store.delete_device(&device("a"), NOW).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn tokens() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    let (a, b) = (device("a"), device("b"));
    assert_eq!(kind(store.create_token(&a, None, NOW).await), ErrorKind::NotFound);
    store.create_device(&a, None, NOW).await.unwrap();
    store.create_device(&b, None, NOW).await.unwrap();
    let later = Timestamp(NOW.0 + 1_000);
    let (_, ending) = store.create_token(&a, Some(later), NOW).await.unwrap();
    let (_, endless) = store.create_token(&a, None, NOW).await.unwrap();
    let check = |device, token: &str, now, expected| {
        assert_eq!(store.check_token(device, token, now).unwrap(), expected, "{device} {token}");
    };
    check(&a, &ending, NOW, TokenCheck::Valid);
    check(&a, &ending, later, TokenCheck::Expired);
    check(&a, &endless, later, TokenCheck::Valid);
    check(&b, &endless, NOW, TokenCheck::Unknown);
    check(&a, "", NOW, TokenCheck::Unknown);
    check(&a, &endless[1..], NOW, TokenCheck::Unknown);
    assert_eq!(store.tokens(&a).await.unwrap().len(), 2);

    assert_eq!(store.revoke_tokens(&a).await, Ok(2));
    check(&a, &endless, NOW, TokenCheck::Unknown);

    let (_, token) = store.create_token(&a, None, NOW).await.unwrap();
    store.delete_device(&a, NOW).await.unwrap();
    store.create_device(&a, None, NOW).await.unwrap();
    check(&a, &token, NOW, TokenCheck::Unknown);
}

#[tokio::test]
async fn expired_tokens_make_room_for_new_ones() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    store.create_device(&device("a"), None, NOW).await.unwrap();
    let later = Timestamp(NOW.0 + 1_000);
    for _ in 0..TOKENS_PER_DEVICE {
        store.create_token(&device("a"), Some(later), NOW).await.unwrap();
    }
    assert_eq!(kind(store.create_token(&device("a"), None, NOW).await), ErrorKind::Throttled);
    store.create_token(&device("a"), None, later).await.unwrap();
    assert_eq!(store.tokens(&device("a")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn keys() {
    let (_folder, store) = fresh();
    let grants = Grants { publish: vec!["a/+".parse().unwrap()], subscribe: vec!["b/#".parse().unwrap()] };
    let role = Role::Application(grants);
    let secret = store.create_key(&key("app"), role.clone(), NOW).await.unwrap();
    assert_eq!(kind(store.create_key(&key("app"), Role::Administrator, NOW).await), ErrorKind::Conflict);
    assert_eq!(store.check_key(&key("app"), &secret), Ok(Some(role.clone())));
    assert_eq!(store.key_role(&key("app")), Ok(Some(role.clone())));
    assert_eq!(store.check_key(&key("app"), "wrong"), Ok(None));
    assert_eq!(store.check_key(&key("other"), &secret), Ok(None));

    store.import_key(&key("admin"), Role::Administrator, "one", NOW).await.unwrap();
    store.import_key(&key("admin"), Role::Administrator, "two", NOW).await.unwrap();
    assert_eq!(store.check_key(&key("admin"), "one"), Ok(None));
    assert_eq!(store.check_key(&key("admin"), "two"), Ok(Some(Role::Administrator)));
    let names: Vec<_> = store.keys().await.unwrap().into_iter().map(|info| (info.name, info.role)).collect();
    assert_eq!(names, [(key("admin"), Role::Administrator), (key("app"), role)]);

    store.delete_key(&key("app")).await.unwrap();
    assert_eq!(store.check_key(&key("app"), &secret), Ok(None));
    assert_eq!(kind(store.delete_key(&key("app")).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_rule_keeps_its_versions_and_its_start() {
    let (_folder, store) = fresh();
    let first = with_rule(&store, "r", "one", 2).await;
    assert_eq!((first.version, first.start), (1, Offset::new(1, 5)));
    assert_eq!(with_rule(&store, "r", "one", 2).await, first, "the same text is no new version");

    let changed = NewRule {
        name: rule("r"),
        text: "two".to_owned(),
        owner: key("app"),
        enabled: false,
        start: Offset::new(9, 9),
        actions: 2,
    };
    let second = store.put_rule(changed, Timestamp(NOW.0 + 1)).await.unwrap();
    assert_eq!((second.version, second.start, second.enabled), (2, first.start, false));
    assert_eq!((second.created_at, second.updated_at), (NOW, Timestamp(NOW.0 + 1)));
    assert_eq!(store.rules().await.unwrap(), [second]);
    let versions = store.rule_versions(&rule("r")).await.unwrap();
    let versions: Vec<_> = versions.iter().map(|old| (old.version, old.text.as_str(), old.owner.as_str())).collect();
    assert_eq!(versions, [(2, "two", "app"), (1, "one", "admin")]);

    store.set_rule_enabled(&rule("r"), true).await.unwrap();
    assert!(store.rules().await.unwrap()[0].enabled);
    assert_eq!(kind(store.set_rule_enabled(&rule("s"), true).await), ErrorKind::NotFound);
    assert_eq!(kind(store.delete_rule(&rule("s")).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn only_so_many_versions_are_kept() {
    let (_folder, store) = fresh();
    for number in 0..120 {
        with_rule(&store, "r", &number.to_string(), 1).await;
    }
    let versions = store.rule_versions(&rule("r")).await.unwrap();
    assert_eq!(versions.len(), 100);
    assert_eq!((versions[0].version, versions[99].version), (120, 21));
}

#[tokio::test]
async fn progress_of_an_action_that_is_gone_is_forgotten() {
    let (_folder, store) = fresh();
    with_rule(&store, "r", "one", 3).await;
    let action = |action| ActionProgress { rule: rule("r"), action, position: None, ledger: Default::default() };
    let actions = vec![action(0), action(1), action(2), action(ERROR_ACTION)];
    store.commit_progress(Progress { actions, ..Progress::default() }).await.unwrap();
    with_rule(&store, "r", "two", 1).await;
    let left: Vec<_> = store.progress().await.unwrap().actions.iter().map(|action| action.action).collect();
    assert_eq!(left, [0, ERROR_ACTION]);
}

#[tokio::test]
async fn sinks() {
    let (_folder, store) = fresh();
    let name = "archive".parse().unwrap();
    store.put_sink(&name, "webhook", "CREATE SINK …", NOW).await.unwrap();
    store.put_sink(&name, "republish", "CREATE SINK …2", Timestamp(NOW.0 + 1)).await.unwrap();
    let sink = store.sink(&name).unwrap().unwrap();
    assert_eq!((sink.kind.as_str(), sink.text.as_str()), ("republish", "CREATE SINK …2"));
    assert_eq!((sink.created_at, sink.updated_at), (NOW, Timestamp(NOW.0 + 1)));
    assert_eq!(store.sinks().await.unwrap(), [sink]);
    store.delete_sink(&name).await.unwrap();
    assert_eq!(store.sink(&name).unwrap(), None);
    assert_eq!(kind(store.delete_sink(&name).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn secrets() {
    let (_folder, store) = fresh();
    let name = "hot".parse().unwrap();
    store.put_secret(&name, b"1", NOW).await.unwrap();
    store.put_secret(&name, b"\xff\x00", Timestamp(NOW.0 + 1)).await.unwrap();
    assert_eq!(store.secret(&name).unwrap().as_deref(), Some(&b"\xff\x00"[..]));
    let listed = store.secrets().await.unwrap();
    assert_eq!((listed[0].created_at, listed[0].updated_at), (NOW, Timestamp(NOW.0 + 1)));
    assert_eq!(kind(store.put_secret(&name, &[0; 65_537], NOW).await), ErrorKind::TooLarge);
    store.delete_secret(&name).await.unwrap();
    assert_eq!(store.secret(&name).unwrap(), None);
    assert_eq!(kind(store.delete_secret(&name).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn snapshots_and_cursors_keep_every_bit_of_an_offset() {
    let (_folder, store) = fresh();
    assert_eq!(store.snapshot("delivery").await.unwrap(), None);
    assert_eq!(store.cursor("delivery").await.unwrap(), None);
    for offset in [Offset::ZERO, Offset::new(1, 7), Offset(u64::MAX)] {
        store.put_snapshot("delivery", offset, vec![1, 2]).await.unwrap();
        store.put_cursor("delivery", offset).await.unwrap();
        let snapshot = store.snapshot("delivery").await.unwrap().unwrap();
        assert_eq!((snapshot.offset, snapshot.bytes), (offset, vec![1, 2]));
        assert_eq!(store.cursor("delivery").await.unwrap(), Some(offset));
    }
}

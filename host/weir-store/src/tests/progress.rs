//! Progress and dead letters.

use bytes::Bytes;
use weir_core::seams::{Delivery, IdempotenceKey};

use super::*;
use crate::{
    ActionLedger, ActionProgress, DeadLetterKind, ERROR_ACTION, NewDeadLetter, Progress, SavedProgress, StoreError,
    StoreOptions,
};

fn delivery(name: &str, index: u64, payload: &[u8]) -> Delivery {
    Delivery {
        key: IdempotenceKey { offset: Offset::new(3, index), rule: rule(name), row: 2 },
        topic: "A1B2C3D4E5/dev/event".to_owned(),
        product: Some("A1B2C3D4E5".to_owned()),
        device: None,
        accepted_at: NOW.0,
        qos: 1,
        hop: 3,
        payload: Bytes::copy_from_slice(payload),
        arguments: vec![("topic".to_owned(), "x/y".to_owned())],
        failure: Some("payload is not JSON".to_owned()),
    }
}

fn letter(name: &str, kind: DeadLetterKind) -> NewDeadLetter {
    NewDeadLetter { rule: rule(name), action: 1, reason: "status 400".to_owned(), created_at: NOW, kind }
}

fn action(name: &str, action: u32, position: Option<Offset>, produced: u64) -> ActionProgress {
    let ledger = ActionLedger {
        read: 6,
        matched: 3,
        unmatched: 2,
        failed: 1,
        produced,
        delivered: 4,
        dead_lettered: 5,
        expired: u64::MAX,
    };
    ActionProgress { rule: rule(name), action, position, ledger }
}

#[tokio::test]
async fn a_step_is_saved_and_read_back() {
    let (folder, store) = fresh();
    assert_eq!(store.progress().await.unwrap(), SavedProgress::default());
    with_rule(&store, "a", "one", 2).await;
    let step = |head, produced| Progress {
        head: Some(head),
        actions: vec![
            action("a", 0, None, produced),
            action("a", ERROR_ACTION, Some(Offset::new(2, 9)), produced),
            action("gone", 0, None, 1),
        ],
        dead_letters: vec![letter("a", DeadLetterKind::Row(delivery("a", 1, b"\xff")))],
    };
    store.commit_progress(step(Offset::new(2, 10), 4)).await.unwrap();
    store.commit_progress(step(Offset::new(2, 11), 5)).await.unwrap();
    // A step without a head leaves it.
    store.commit_progress(Progress::default()).await.unwrap();
    store.close().await;
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    let saved = store.progress().await.unwrap();
    assert_eq!(saved.head, Some(Offset::new(2, 11)));
    let expected = [action("a", 0, None, 5), action("a", ERROR_ACTION, Some(Offset::new(2, 9)), 5)];
    assert_eq!(saved.actions, expected);
    assert_eq!(store.dead_letters(None, 0, 10).await.unwrap().len(), 2);

    store.delete_rule(&rule("a")).await.unwrap();
    assert!(store.progress().await.unwrap().actions.is_empty());
    assert!(store.rule_versions(&rule("a")).await.unwrap().is_empty());
    assert_eq!(store.dead_letters(None, 0, 10).await.unwrap().len(), 2, "dead letters outlive their rule");
}

#[tokio::test]
async fn a_step_that_fails_at_its_end_leaves_nothing() {
    let (_folder, store) = fresh();
    with_rule(&store, "a", "one", 1).await;
    let step = |index| Progress {
        head: Some(Offset::new(1, index)),
        actions: vec![action("a", 0, None, index)],
        dead_letters: vec![
            letter("a", DeadLetterKind::Row(delivery("a", index, b"{}"))),
            letter("a", DeadLetterKind::Range { from: Offset::new(1, 0), to: Offset::new(1, index) }),
        ],
    };
    store.commit_progress(step(1)).await.unwrap();
    let before = (store.progress().await.unwrap(), store.dead_letters(None, 0, 10).await.unwrap());

    let trigger = "CREATE TEMP TRIGGER refuse BEFORE INSERT ON dead_letters WHEN new.end_offset IS NOT NULL
                   BEGIN SELECT RAISE(ABORT, 'refused'); END";
    store.write(move |connection| Ok(connection.execute_batch(trigger)?)).await.unwrap();
    assert_eq!(store.commit_progress(step(2)).await, Err(StoreError::Failed("refused".to_owned())));
    assert_eq!((store.progress().await.unwrap(), store.dead_letters(None, 0, 10).await.unwrap()), before);

    store.write(|connection| Ok(connection.execute_batch("DROP TRIGGER refuse")?)).await.unwrap();
    store.commit_progress(step(3)).await.unwrap();
    assert_eq!(store.progress().await.unwrap().head, Some(Offset::new(1, 3)));
}

#[tokio::test]
async fn dead_letters_are_read_listed_and_deleted() {
    let (_folder, store) = fresh();
    let row = DeadLetterKind::Row(delivery("a", 1, b"\xff\x00"));
    let range = DeadLetterKind::Range { from: Offset::new(1, 0), to: Offset(u64::MAX) };
    let dead_letters = vec![letter("a", row.clone()), letter("b", range.clone()), letter("a", range.clone())];
    store.commit_progress(Progress { dead_letters, ..Progress::default() }).await.unwrap();

    let all = store.dead_letters(None, 0, 10).await.unwrap();
    assert_eq!(all.iter().map(|letter| letter.kind.clone()).collect::<Vec<_>>(), [row, range.clone(), range]);
    let of_a = store.dead_letters(Some(&rule("a")), all[0].id, 10).await.unwrap();
    assert_eq!(of_a, [all[2].clone()]);
    assert_eq!(store.dead_letters(None, 0, 1).await.unwrap(), [all[0].clone()]);
    assert_eq!(store.dead_letter(all[1].id).await.unwrap().as_ref(), Some(&all[1]));
    assert_eq!((all[0].reason.as_str(), all[0].action, all[0].created_at), ("status 400", 1, NOW));

    let counts = async || -> Vec<(String, u64, u64)> {
        let counts = store.dead_letter_counts().await.unwrap();
        counts.into_iter().map(|count| (count.rule.to_string(), count.kept, count.dropped)).collect()
    };
    assert_eq!(counts().await, [("a".to_owned(), 2, 0), ("b".to_owned(), 1, 0)]);
    assert_eq!(store.delete_dead_letters(&[all[0].id, all[1].id, 999]).await, Ok(2));
    assert_eq!(counts().await, [("a".to_owned(), 1, 0)]);
    assert_eq!(store.dead_letter(all[0].id).await.unwrap(), None);
}

async fn bounded(options: StoreOptions, expected_kept: u64) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_with(folder.path(), options).unwrap();
    let letters = |name: &'static str, count: u64| {
        (0..count).map(move |index| letter(name, DeadLetterKind::Row(delivery(name, index, &[b'x'; 1_000]))))
    };
    let dead_letters = letters("a", 10).chain(letters("b", 1)).collect();
    store.commit_progress(Progress { dead_letters, ..Progress::default() }).await.unwrap();
    let counts = store.dead_letter_counts().await.unwrap();
    assert_eq!((counts[0].kept, counts[0].dropped), (expected_kept, 10 - expected_kept));
    assert_eq!((counts[1].kept, counts[1].dropped), (1, 0));
    let left = store.dead_letters(Some(&rule("a")), 0, 100).await.unwrap();
    assert_eq!(left.len() as u64, expected_kept);
    let DeadLetterKind::Row(newest) = &left.last().unwrap().kind else { panic!("a range") };
    assert_eq!(newest.key.offset.index(), 9, "the oldest go first");
}

#[tokio::test]
async fn too_many_dead_letters_are_dropped_and_counted() {
    bounded(StoreOptions { dead_letters_per_rule: 3, ..StoreOptions::default() }, 3).await;
    bounded(StoreOptions { dead_letter_bytes_per_rule: 4_500, ..StoreOptions::default() }, 4).await;
}

//! The writer: groups, failures, survival.

use std::sync::mpsc::sync_channel;

use rusqlite::Connection;
use tokio::join;

use super::*;
use crate::StoreError;

fn insert(name: &'static str) -> impl FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static {
    move |connection| crate::snapshots::set_cursor(connection, name, Offset::ZERO)
}

async fn written(store: &Store, name: &str) -> bool {
    store.cursor(name).await.unwrap().is_some()
}

/// Runs `middle` in one group with a write before and one after it: the writer is held until all three wait.
async fn between(
    store: &Store,
    middle: impl FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
) -> [Result<(), StoreError>; 3] {
    let (release, held) = sync_channel::<()>(0);
    let (started, running) = tokio::sync::oneshot::channel();
    let hold = store.write(move |_| {
        started.send(()).ok();
        held.recv().ok();
        Ok(())
    });
    let three = async {
        // The group of the holding write is closed: none of the three can join it.
        running.await.unwrap();
        // Futures are polled in order, and sending to the writer does not wait: the three are in its queue when it
        // goes on.
        join!(store.write(insert("before")), store.write(middle), store.write(insert("after")), async {
            drop(release);
        })
    };
    let (_, (before, middle, after, ())) = join!(hold, three);
    [before, middle, after]
}

#[tokio::test]
async fn a_failed_write_is_undone_alone() {
    let (_folder, store) = fresh();
    let failing = |connection: &Connection| {
        insert("middle")(connection)?;
        Err(StoreError::missing("thing", "x"))
    };
    let results = between(&store, failing).await;
    assert_eq!(results, [Ok(()), Err(StoreError::missing("thing", "x")), Ok(())]);
    assert!(written(&store, "before").await && written(&store, "after").await && !written(&store, "middle").await);
}

#[tokio::test]
async fn the_writer_survives_a_panic() {
    let (_folder, store) = fresh();
    let panicking = |connection: &Connection| {
        insert("middle")(connection)?;
        panic!("a defect");
    };
    let results = between(&store, panicking).await;
    assert_eq!(results, [Ok(()), Err(StoreError::Panicked), Ok(())]);
    assert!(written(&store, "before").await && written(&store, "after").await && !written(&store, "middle").await);
}

/// As SQLite does by itself after some errors.
#[tokio::test]
async fn a_transaction_that_is_lost_fails_the_writes_before_and_not_those_after() {
    let (_folder, store) = fresh();
    let losing = |connection: &Connection| {
        connection.execute_batch("ROLLBACK")?;
        Err(StoreError::Full)
    };
    let results = between(&store, losing).await;
    assert_eq!(results, [Err(StoreError::Full), Err(StoreError::Full), Ok(())]);
    assert!(!written(&store, "before").await && written(&store, "after").await);
}

#[tokio::test]
async fn a_failed_commit_fails_its_group_and_the_next_write_works() {
    let (_folder, store) = fresh();
    let violating = |connection: &Connection| {
        connection.execute_batch(
            "PRAGMA defer_foreign_keys = ON;
             INSERT INTO devices (product, device, psk, enabled, created_at) VALUES ('A1B2C3D4E5', 'd', x'00', 1, 0)",
        )?;
        Ok(())
    };
    let results = between(&store, violating).await;
    assert!(results.iter().all(|result| matches!(result, Err(StoreError::Failed(_)))), "{results:?}");
    assert!(!written(&store, "before").await);
    store.write(insert("next")).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_a_typed_error_and_passes() {
    let (_folder, store) = fresh();
    let limit = |pages: u32| {
        store.write(move |connection| {
            Ok(connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
        })
    };
    limit(1).await.unwrap(); // SQLite takes it as the present size.
    let big = vec![7; 1 << 20];
    assert_eq!(store.put_snapshot("big", Offset::ZERO, big.clone()).await, Err(StoreError::Full));
    assert_eq!(store.snapshot("big").await.unwrap(), None);
    limit(1_000_000).await.unwrap();
    store.put_snapshot("big", Offset::ZERO, big).await.unwrap();
}

#[tokio::test]
async fn many_callers_write_and_read_at_once() {
    let (_folder, store) = fresh();
    with_product(&store).await;
    let devices: Vec<_> = (0..64).map(|number| device(&format!("d{number}"))).collect();
    let made = futures::future::join_all(devices.iter().map(|device| store.create_device(device, None, NOW))).await;
    assert!(made.iter().all(Result::is_ok));
    let listed = futures::future::join_all((0..16).map(|_| {
        let (store, product) = (store.clone(), product());
        async move { store.devices(&product, 0, 100).await }
    }))
    .await;
    assert!(listed.into_iter().all(|page| page.is_ok_and(|(devices, total)| devices.len() == 64 && total == 64)));
}

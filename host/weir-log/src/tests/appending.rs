//! Appending: order, bounds, cadence, the end.

use std::collections::HashMap;

use super::*;
use crate::{AppendError, LogFailed, SyncPolicy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_one_call_stay_together_whoever_else_appends() {
    // A group is full after two records, so that appenders wait all the time.
    let options = LogOptions { group_rows: 2, tail_bytes: 0, segment_bytes: 50_000, ..LogOptions::default() };
    let disk = Faulty::new();
    let log = open(&disk, options).unwrap();
    let appenders: Vec<_> = (0..8_u8)
        .map(|appender| {
            let log = log.clone();
            #[expect(clippy::disallowed_methods, reason = "a test is its own owner")]
            tokio::spawn(async move {
                let mut offsets = HashMap::new();
                for n in 0..40_u8 {
                    let payloads = [[appender, n, 0], [appender, n, 1], [appender, n, 2]];
                    let records = payloads.each_ref().map(|payload| message(Qos::AtMostOnce, "a/b", payload));
                    offsets.insert([appender, n], log.append(&records).await.unwrap());
                }
                offsets
            })
        })
        .collect();
    let mut offsets = HashMap::new();
    for appender in appenders {
        offsets.extend(soon(appender).await.unwrap());
    }
    log.close().await;
    let rows = durable_rows(&log).unwrap();
    assert_eq!(rows.len(), 8 * 40 * 3);
    assert!(rows.is_sorted());
    for three in rows.chunks(3) {
        let (first, payload) = &three[0];
        assert_eq!(offsets[&payload[..2]], *first);
        for (n, (offset, row)) in three.iter().enumerate() {
            assert_eq!((*offset, row), (first.plus(n as u64), &vec![payload[0], payload[1], n as u8]));
        }
    }
    assert_eq!(log.stats().records, rows.len() as u64);
}

#[tokio::test]
async fn a_full_group_is_busy_and_too_large_a_call_is_refused() {
    let log = open(&Faulty::new(), LogOptions { group_bytes: 1, ..LogOptions::default() }).unwrap();
    let payload = vec![0; 300_000];
    let record = message(Qos::AtMostOnce, "a", &payload);
    // The writer takes its time with so much, so sooner or later a call finds the group full.
    let mut appended = 0;
    while log.try_append(&[record]) != Err(AppendError::Busy) {
        appended += 1;
    }
    soon(log.ready()).await;
    let last = soon(log.append(&[record])).await.unwrap();
    soon(log.durable().wait_for(last)).await.unwrap();
    assert_eq!(last.index(), appended);

    let large = vec![0; 33 << 20];
    let record = message(Qos::AtMostOnce, "a", &large);
    let error = log.try_append(&[record, record]).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { size, limit } if size > limit), "{error:?}");
    let next = log.append(&[message(Qos::AtMostOnce, "a", b"")]).await.unwrap();
    assert_eq!(next, last.plus(1), "nothing of a refused call was appended");
}

#[tokio::test]
async fn every_column_comes_back() {
    let mut generator = proptest::test_runner::TestRunner::deterministic();
    let rows = proptest::strategy::ValueTree::current(&Owned::many(200..201).new_tree(&mut generator).unwrap());
    let disk = Faulty::new();
    let log = open(&disk, LogOptions::default()).unwrap();
    let records: Vec<_> = rows.iter().map(Owned::record).collect();
    for records in records.chunks(90) {
        let first = log.append(records).await.unwrap();
        log.durable().wait_for(first).await.unwrap();
    }
    log.close().await;
    let log = open(&disk, LogOptions::default()).unwrap();
    let mut seen = 0;
    for batch in log.scan(Offset::ZERO, Offset(u64::MAX)) {
        let records = Records::try_from(&batch.unwrap()).unwrap();
        for row in 0..records.len() {
            assert_eq!(records.accepted_at.value(row), NOW.0);
            rows[seen].check(&records, row);
            seen += 1;
        }
    }
    assert_eq!(seen, rows.len());
}

#[tokio::test]
async fn what_nobody_waits_for_is_gathered_and_synced_all_the_same() {
    let log = open(&Faulty::new(), LogOptions::default()).unwrap();
    let mut last = Offset::ZERO;
    for n in 0..100 {
        last = log.append(&[message(Qos::AtMostOnce, "a", &[n])]).await.unwrap();
    }
    soon(log.durable().wait_for(last)).await.unwrap();
    let stats = log.stats();
    assert_eq!((stats.records, stats.durable), (100, last.plus(1)));
    assert!(stats.syncs < 100, "{stats:?}");
}

#[tokio::test]
async fn what_somebody_waits_for_is_synced_with_what_came_before() {
    let log = open(&Faulty::new(), LogOptions::default()).unwrap();
    log.append(&[message(Qos::AtMostOnce, "a", b"1")]).await.unwrap();
    append_durably(&log, b"2").await;
    let control = Record::Control { kind: Kind::Tick, session: None, topic: "", payload: b"" };
    let tick = log.append(&[control]).await.unwrap();
    soon(log.durable().wait_for(tick)).await.unwrap();
    assert_eq!(log.stats().syncs, 2);
}

#[tokio::test]
async fn sync_policies() {
    // Never: what is written counts.
    let disk = Faulty::new();
    let log = open(&disk, LogOptions { sync: SyncPolicy::Never, ..LogOptions::default() }).unwrap();
    let (_, before) = disk.operations();
    append_durably(&log, b"1").await;
    assert_eq!((disk.operations().1, log.stats().syncs), (before, 0));

    // Interval: one sync for many that are waited for. The first one need not wait.
    let interval = SyncPolicy::Interval(Duration::from_secs(3_600));
    let log = open(&Faulty::new(), LogOptions { sync: interval, ..LogOptions::default() }).unwrap();
    append_durably(&log, b"1").await;
    let mut durable = log.durable();
    let second = log.append(&[message(Qos::AtLeastOnce, "a", b"2")]).await.unwrap();
    let mut reader = log.reader(second);
    assert_eq!(soon(reader.next()).await.unwrap().first, second);
    assert_eq!(durable.get(), second, "it is written, but not durable");
    log.close().await;
    assert_eq!(durable.changed().await, Ok(second.plus(1)));
    assert_eq!(durable.changed().await, Err(LogFailed), "nothing will follow");
    assert_eq!(log.stats().syncs, 2);
}

#[tokio::test]
async fn a_closed_log_has_everything_and_takes_nothing() {
    let disk = Faulty::new();
    let log = open(&disk, LogOptions::default()).unwrap();
    let offset = log.append(&[message(Qos::AtMostOnce, "a", b"pending")]).await.unwrap();
    soon(log.close()).await;
    soon(log.close()).await;
    assert_eq!(log.durable().wait_for(offset).await, Ok(()));
    assert_eq!(log.durable().wait_for(offset.plus(1)).await, Err(LogFailed));
    assert_eq!(log.append(&[message(Qos::AtMostOnce, "a", b"late")]).await, Err(AppendError::Failed));
    assert!(!log.stats().failed);
    assert_eq!(durable_rows(&open(&disk.crash(), LogOptions::default()).unwrap()).unwrap().len(), 1);
}

#[tokio::test]
async fn a_dropped_log_writes_what_is_pending() {
    let disk = Faulty::new();
    let log = open(&disk, LogOptions::default()).unwrap();
    let durable = log.durable();
    let offset = log.append(&[message(Qos::AtMostOnce, "a", b"pending")]).await.unwrap();
    drop(log);
    soon(durable.wait_for(offset)).await.unwrap();
}

#[tokio::test]
async fn an_epoch_without_offsets_ends_the_log() {
    let log = open(&Faulty::new(), LogOptions::default()).unwrap();
    log.shared().state.lock().next = Offset::new(1, (1 << 40) - 3);
    let record = message(Qos::AtMostOnce, "a", b"");
    let last = log.append(&[record, record]).await.unwrap();
    assert_eq!(log.append(&[record]).await, Err(AppendError::Failed));
    soon(log.failed()).await;
    assert_eq!(soon(log.durable().wait_for(last.plus(1))).await, Ok(()));
}

#[tokio::test]
async fn leftovers_of_openings_without_a_record_go() {
    let disk = Faulty::new();
    for _ in 0..3 {
        open(&disk, LogOptions::default()).unwrap().close().await;
    }
    assert_eq!(disk.files().len(), 1);
    let log = open(&disk, LogOptions::default()).unwrap();
    assert_eq!((log.oldest(), log.appended()), (Offset::ZERO, Offset::ZERO));
    assert_eq!(append_durably(&log, b"x").await, Offset::new(4, 0));
}

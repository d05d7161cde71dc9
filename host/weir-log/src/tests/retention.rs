//! Retention: what goes, what stays, and when appends are refused.

use super::*;
use crate::{AppendError, Pins, ReadError};

/// A log of many small segments; a record takes about 1,100 bytes, a segment holds two.
fn options() -> LogOptions {
    LogOptions { segment_bytes: 4_500, tail_bytes: 0, ..LogOptions::default() }
}

async fn fill(log: &Log, records: u8) -> Vec<Offset> {
    let mut offsets = Vec::new();
    for n in 0..records {
        offsets.push(append_durably(log, &[n]).await);
    }
    offsets
}

#[tokio::test]
async fn what_is_too_much_goes_unless_it_is_needed() {
    let disk = Faulty::new();
    let log = open(&disk, LogOptions { retain_bytes: 10_000, ..options() }).unwrap();
    let offsets = fill(&log, 12).await;
    let full = log.stats();
    log.enforce_retention(Pins { actions: None, floor: Offset::ZERO }).unwrap();
    assert_eq!(log.stats(), full, "delivery needs everything");
    log.enforce_retention(Pins { actions: Some(offsets[2]), floor: offsets[11] }).unwrap();
    assert!(log.oldest() <= offsets[2] && log.oldest() > Offset::ZERO, "an action needs the rest");
    log.enforce_retention(Pins { actions: None, floor: offsets[11] }).unwrap();
    let stats = log.stats();
    assert!(stats.bytes <= 10_000 && stats.bytes > 5_000, "{stats:?}");
    let kept = durable_rows(&log).unwrap();
    assert_eq!(kept.first().unwrap().0, log.oldest());
    assert_eq!(kept.last().unwrap().0, offsets[11]);
    assert_eq!(stats.segments, disk.files().len());
    // And it stays so.
    let log = open(&disk.crash(), options()).unwrap();
    assert_eq!(durable_rows(&log).unwrap(), kept);
}

#[tokio::test]
async fn an_archive_keeps_what_it_has_to_copy_until_the_log_is_full() {
    let disk = Faulty::new();
    let log = open(&disk, LogOptions { retain_bytes: 0, max_bytes: 60_000, ..options() }).unwrap();
    log.archived(Offset::ZERO);
    let offsets = fill(&log, 8).await;
    let sealed = log.sealed();
    assert!(sealed > offsets[3] && sealed <= offsets[7], "the last segment grows: {sealed}");
    assert!(log.sealed_bytes(Offset::ZERO) > log.sealed_bytes(offsets[3]));
    assert_eq!(log.sealed_bytes(sealed), 0);
    let pins = Pins { actions: None, floor: offsets[7] };
    log.enforce_retention(pins).unwrap();
    assert_eq!(log.oldest(), Offset::ZERO);
    log.archived(offsets[4]);
    log.enforce_retention(pins).unwrap();
    assert!(log.oldest() > offsets[1] && log.oldest() <= offsets[4], "{}", log.oldest());
    // A lake that cannot be reached must not stop the hub.
    log.enforce_retention(Pins { actions: None, floor: Offset(u64::MAX) }).unwrap();
    fill(&log, 80).await;
    assert!(log.oldest() > offsets[4]);
}

#[tokio::test]
async fn what_is_too_old_goes() {
    let clock = Clock::manual(NOW);
    let disk = Faulty::new();
    let options = LogOptions { retain_age: Duration::from_secs(60), ..options() };
    let log = Log::open(Arc::new(disk.clone()), options, clock.clone()).unwrap();
    fill(&log, 6).await;
    clock.advance(Duration::from_secs(30));
    let later = fill(&log, 6).await;
    let pins = Pins { actions: None, floor: log.appended() };
    log.enforce_retention(pins).unwrap();
    assert_eq!(log.oldest(), Offset::ZERO);
    clock.advance(Duration::from_secs(31));
    log.enforce_retention(pins).unwrap();
    let oldest = log.oldest();
    assert!(oldest > Offset::ZERO && oldest <= later[0], "{oldest}");

    // When nothing more comes, the segment being written is sealed, so that it can go too.
    while log.oldest() != pins.floor {
        clock.advance(Duration::from_secs(61));
        log.enforce_retention(pins).unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(durable_rows(&log).unwrap(), []);
    assert_eq!(append_durably(&log, b"more").await, pins.floor);
}

#[tokio::test]
async fn a_full_log_overtakes_actions_but_never_delivery() {
    let options = LogOptions { max_bytes: 40_000, ..options() };
    let log = open(&Faulty::new(), options).unwrap();
    let first = append_durably(&log, b"first").await;
    let mut action = log.reader(first);
    // Delivery has read nothing: when the log is full, it is full.
    let record = message(Qos::AtLeastOnce, "a/b", b"x");
    let refused = loop {
        match log.append(&[record]).await {
            Ok(offset) => soon(log.durable().wait_for(offset)).await.unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Full);
    let stats = log.stats();
    assert!((40_000..45_000).contains(&stats.bytes), "{stats:?}");
    assert_eq!(log.oldest(), Offset::ZERO);

    // The hub itself has a little more room, not without end.
    let mut reserved = 0;
    while let Ok(offset) = log.append_reserved(&[record]).await {
        soon(log.durable().wait_for(offset)).await.unwrap();
        reserved += 1;
    }
    assert!((1..=3).contains(&reserved), "{reserved}");

    // Delivery has read all: there is room again, at the cost of the action that has not.
    log.enforce_retention(Pins { actions: Some(first), floor: log.appended() }).unwrap();
    assert!(log.oldest() > first && log.stats().bytes < 40_000);
    append_durably(&log, b"room").await;
    log.close().await;
    let oldest = log.oldest();
    let error = soon(action.next_durable()).await.unwrap_err();
    let ReadError::Overtaken { position, oldest: now_oldest } = error else { panic!("{error}") };
    assert_eq!((position, now_oldest, action.position()), (first, oldest, oldest));
    assert_eq!(soon(action.next_durable()).await.unwrap().first, oldest);
}

#[tokio::test]
async fn between_two_calls_the_last_pins_count() {
    let log = open(&Faulty::new(), LogOptions { max_bytes: 40_000, ..options() }).unwrap();
    let offsets = fill(&log, 10).await;
    log.enforce_retention(Pins { actions: None, floor: offsets[9] }).unwrap();
    // Far beyond the bound: segments below the floor go as room is needed.
    let mut appended = 10;
    while let Ok(offset) = log.append(&[message(Qos::AtLeastOnce, "a/b", b"x")]).await {
        soon(log.durable().wait_for(offset)).await.unwrap();
        appended += 1;
        assert!(log.stats().bytes < 45_000);
    }
    let oldest = log.oldest();
    assert!(oldest <= offsets[9] && oldest > offsets[5], "{oldest}");
    assert!(appended > 20, "{appended}");
}

#[tokio::test]
async fn a_failing_removal_is_told_and_leaves_no_gap() {
    let disk = Faulty::new();
    let log = open(&disk, LogOptions { retain_bytes: 0, ..options() }).unwrap();
    fill(&log, 8).await;
    let before = log.stats();
    disk.fail_sync(0);
    let pins = Pins { actions: None, floor: log.appended() };
    assert!(log.enforce_retention(pins).is_err());
    assert_eq!(log.stats(), before);
    log.enforce_retention(pins).unwrap();
    assert_eq!(log.stats().segments, 1);
}

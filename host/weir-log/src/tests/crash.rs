//! What was durable is there after every crash, and no offset names two records.

use super::*;
use crate::{AppendError, LogFailed, ReadError, SyncPolicy};

#[derive(Debug, Clone)]
enum Step {
    Append(Qos, u8),
    /// Waits until all that was appended is durable.
    Await,
    /// Power is lost; this share of what was not synced was written all the same.
    Crash(f64),
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_u8, 1..5_u8).prop_map(|(qos, rows)| Step::Append(Qos::from_u8(qos).unwrap(), rows)),
        2 => Just(Step::Await),
        1 => prop_oneof![Just(0.0), Just(1.0), 0.0..1.0].prop_map(Step::Crash),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 1..40)
}

fn policy() -> impl Strategy<Value = SyncPolicy> {
    prop_oneof![Just(SyncPolicy::Always), Just(SyncPolicy::Interval(Duration::from_millis(1)))]
}

async fn run(steps: Vec<Step>, sync: SyncPolicy) {
    let options = LogOptions { segment_bytes: 4_000, tail_bytes: 3_000, sync, ..LogOptions::default() };
    let mut disk = Faulty::new();
    let mut log = open(&disk, options.clone()).unwrap();
    let mut rows: Vec<(Offset, Vec<u8>)> = Vec::new();
    let mut highest = None;
    for (n, step) in steps.into_iter().chain([Step::Crash(0.0)]).enumerate() {
        match step {
            Step::Append(qos, count) => {
                let payloads: Vec<_> = (0..count).map(|row| format!("{n}.{row}").into_bytes()).collect();
                let records: Vec<_> = payloads.iter().map(|payload| message(qos, "a/b", payload)).collect();
                let first = log.append(&records).await.unwrap();
                assert!(Some(first) > highest, "{first} was given away before");
                highest = Some(first.plus(u64::from(count) - 1));
                rows.extend(payloads.into_iter().enumerate().map(|(row, payload)| (first.plus(row as u64), payload)));
            }
            Step::Await => {
                if let Some((last, _)) = rows.last() {
                    soon(log.durable().wait_for(*last)).await.unwrap();
                }
            }
            Step::Crash(_) | Step::Close => {
                let mut durable = log.durable().get();
                if let Step::Crash(share) = step {
                    disk = disk.crash_keeping(|unsynced| (unsynced as f64 * share) as usize);
                } else {
                    log.close().await;
                    durable = rows.last().map_or(durable, |(last, _)| last.plus(1));
                    assert_eq!(log.durable().get(), durable);
                }
                log = open(&disk, options.clone()).unwrap();
                let found = durable_rows(&log).unwrap();
                assert!(rows.starts_with(&found), "{found:?} is not the beginning of {rows:?}");
                let needed = rows.iter().filter(|(offset, _)| *offset < durable).count();
                assert!(found.len() >= needed, "{found:?} lacks durable rows of {rows:?} below {durable}");
                assert_eq!(log.durable().get(), found.last().map_or(Offset::ZERO, |(last, _)| last.plus(1)));
                rows = found;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_durable_survives_every_crash(steps in steps(), sync in policy()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(steps, sync));
    }
}

/// Appends until the log fails or `count` records are durable; returns those that are.
async fn append_until_failure(log: &Log, count: u8) -> (Vec<(Offset, Vec<u8>)>, bool) {
    let mut acknowledged = Vec::new();
    for n in 0..count {
        let payload = vec![n; 700];
        let Ok(offset) = log.append(&[message(Qos::AtLeastOnce, "a/b", &payload)]).await else {
            return (acknowledged, true);
        };
        if soon(log.durable().wait_for(offset)).await == Err(LogFailed) {
            return (acknowledged, true);
        }
        acknowledged.push((offset, payload));
    }
    (acknowledged, false)
}

#[tokio::test]
async fn after_a_failed_write_or_sync_nothing_acknowledged_is_lost_and_nothing_more_is_accepted() {
    let options = LogOptions { segment_bytes: 5_000, ..LogOptions::default() };
    let mut survived = 0;
    for n in 0..60 {
        let disk = Faulty::new();
        if n % 2 == 0 {
            disk.fail_write(n / 2)
        } else {
            disk.fail_sync(n / 2)
        }
        let Ok(log) = open(&disk, options.clone()) else {
            assert!(n < 4, "opening makes one file only");
            continue;
        };
        let (acknowledged, failed) = append_until_failure(&log, 10).await;
        survived += u32::from(!failed);
        if failed {
            soon(log.failed()).await;
            assert!(log.stats().failed);
            soon(log.ready()).await;
            assert_eq!(log.try_append(&[message(Qos::AtMostOnce, "a", b"")]), Err(AppendError::Failed));
            assert_eq!(soon(log.durable().wait_for(log.appended())).await, Err(LogFailed));
            let mut reader = log.reader(log.durable().get());
            assert!(matches!(soon(reader.next_durable()).await, Err(ReadError::Stopped)));
            soon(log.close()).await;
        }
        // A killed process leaves what it has written, a power cut what it has synced.
        for files in [disk.files(), disk.crash().files()] {
            let disk = Faulty::with_files(files);
            let found = durable_rows(&open(&disk, options.clone()).unwrap()).unwrap();
            assert!(found.starts_with(&acknowledged), "operation {n}: {found:?} lacks some of {acknowledged:?}");
        }
    }
    assert!((1..50).contains(&survived), "{survived} of 60 survived: the failing operations are the wrong ones");
}

#[tokio::test]
async fn offsets_of_records_that_were_lost_are_not_used_again() {
    let mut disk = Faulty::new();
    let log = open(&disk, LogOptions::default()).unwrap();
    let first = append_durably(&log, b"kept").await;
    let mut offsets = vec![first];
    disk = disk.crash();
    for _ in 0..3 {
        let log = open(&disk, LogOptions::default()).unwrap();
        assert_eq!(durable_rows(&log).unwrap(), [(first, b"kept".to_vec())]);
        assert_eq!((log.appended(), log.durable().get()), (first.plus(1), first.plus(1)));
        disk.fail_sync(0);
        offsets.push(log.append(&[message(Qos::AtLeastOnce, "a", b"lost")]).await.unwrap());
        disk = disk.crash();
    }
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
}

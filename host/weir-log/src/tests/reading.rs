//! Reading: at the head and behind it, across segments and openings.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::*;
use crate::ReadError;

/// Polls once: what does not come by itself is not there.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Twenty records in frames of one, in two openings and several segments, with a tail of a few frames.
async fn twenty() -> (Log, Vec<Offset>) {
    let options = LogOptions { segment_bytes: 5_000, tail_bytes: 6_000, ..LogOptions::default() };
    let disk = Faulty::new();
    let log = open(&disk, options.clone()).unwrap();
    let mut offsets = Vec::new();
    for n in 0..10 {
        offsets.push(append_durably(&log, &[n]).await);
    }
    log.close().await;
    let log = open(&disk, options).unwrap();
    for n in 10..20 {
        offsets.push(append_durably(&log, &[n]).await);
    }
    assert!(log.stats().segments > 6, "{:?}", log.stats());
    (log, offsets)
}

#[tokio::test]
async fn a_reader_gets_every_frame_in_order_from_wherever_it_starts() {
    let (log, offsets) = twenty().await;
    for (start, from) in offsets.iter().enumerate() {
        let mut reader = log.reader(*from);
        for (n, offset) in offsets.iter().enumerate().skip(start) {
            let frame = soon(reader.next_durable()).await.unwrap();
            assert_eq!((frame.first, payloads(&frame)), (*offset, vec![&[n as u8][..]]));
            assert_eq!(reader.position(), offset.plus(1));
        }
        assert!(now(reader.next_durable()).is_none());
    }
    // Between two openings there are no records.
    let mut reader = log.reader(offsets[9].plus(1));
    assert_eq!(soon(reader.next()).await.unwrap().first, offsets[10]);
    let mut reader = log.reader(Offset::ZERO);
    assert_eq!(soon(reader.next()).await.unwrap().first, offsets[0]);
}

#[tokio::test]
async fn a_cancelled_call_passes_nothing_over() {
    let (log, offsets) = twenty().await;
    let mut reader = log.reader(Offset::ZERO);
    for offset in &offsets {
        // The first polls start a read from the disk, and are dropped while it runs.
        assert!(now(reader.next()).is_none_or(|frame| frame.unwrap().first == *offset) || reader.position() == *offset);
        if reader.position() <= *offset {
            assert_eq!(soon(reader.next()).await.unwrap().first, *offset);
        }
    }
    let mut head = log.reader(log.appended());
    assert!(now(head.next()).is_none());
    let offset = append_durably(&log, b"later").await;
    assert_eq!(now(head.next()).unwrap().unwrap().first, offset);
}

#[tokio::test]
async fn readers_at_the_head_share_what_the_writer_made() {
    let log = open(&Faulty::new(), LogOptions::default()).unwrap();
    let (mut one, mut other) = (log.reader(Offset::ZERO), log.reader(Offset::ZERO));
    append_durably(&log, b"x").await;
    let (a, b) = (one.next().await.unwrap(), other.next_durable().await.unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    assert!(a.acknowledged);
}

#[tokio::test]
async fn a_reader_may_start_within_a_frame() {
    for tail_bytes in [0, 1 << 20] {
        let disk = Faulty::new();
        let log = open(&disk, LogOptions { tail_bytes, ..LogOptions::default() }).unwrap();
        let payloads_sent: Vec<[u8; 1]> = (0..100).map(|n| [n]).collect();
        let records: Vec<_> = payloads_sent.iter().map(|payload| message(Qos::AtLeastOnce, "a/b", payload)).collect();
        let first = log.append(&records).await.unwrap();
        soon(log.durable().wait_for(first)).await.unwrap();
        // The newest frame stays in memory, so another one follows.
        append_durably(&log, b"x").await;
        let mut reader = log.reader(first.plus(98));
        let frame = soon(reader.next()).await.unwrap();
        assert_eq!((frame.first, frame.next), (first.plus(98), first.plus(100)));
        assert_eq!(payloads(&frame), [[98], [99]]);
        let scanned: Vec<_> = log.scan(first.plus(40), first.plus(43)).map(|batch| batch.unwrap().num_rows()).collect();
        assert_eq!(scanned, [3]);
    }
}

#[tokio::test]
async fn frames_that_are_not_in_memory_any_more_are_read_from_the_disk() {
    let log = open(&Faulty::new(), LogOptions::default()).unwrap();
    let first = append_durably(&log, b"a").await;
    let (mut behind, mut at_the_head) = (log.reader(first), log.reader(first));
    assert_eq!(payloads(&soon(at_the_head.next()).await.unwrap()), [b"a"]);
    log.shared().tail.lock().forget_old(Instant::now() + Duration::from_secs(60));
    assert!(log.shared().tail.lock().find(first).is_none());
    append_durably(&log, b"b").await;
    assert_eq!(payloads(&soon(at_the_head.next()).await.unwrap()), [b"b"]);
    for expected in [b"a", b"b"] {
        assert_eq!(payloads(&soon(behind.next()).await.unwrap()), [expected]);
    }
}

#[tokio::test]
async fn durable_readers_wait_for_durability() {
    let sync = crate::SyncPolicy::Interval(Duration::from_secs(3_600));
    let log = open(&Faulty::new(), LogOptions { sync, ..LogOptions::default() }).unwrap();
    append_durably(&log, b"the first sync need not wait").await;
    let mut reader = log.reader(log.appended());
    let offset = log.append(&[message(Qos::AtLeastOnce, "a", b"x")]).await.unwrap();
    let mut eager = log.reader(offset);
    assert_eq!(soon(eager.next()).await.unwrap().first, offset);
    assert!(now(reader.next_durable()).is_none());
    assert_eq!((log.end(), log.scan(offset, Offset(u64::MAX)).count()), (offset, 0));
    log.close().await;
    assert_eq!(soon(reader.next_durable()).await.unwrap().first, offset);
    assert!(matches!(soon(reader.next_durable()).await, Err(ReadError::Stopped)));
    assert!(matches!(soon(eager.next()).await, Err(ReadError::Stopped)));
}

#[tokio::test]
async fn a_reader_that_falls_behind_goes_on_from_the_disk() {
    let options = LogOptions { segment_bytes: 20_000, tail_bytes: 0, ..LogOptions::default() };
    let log = open(&Faulty::new(), options).unwrap();
    let mut reader = log.reader(Offset::ZERO);
    let mut expected = 0_u32;
    for n in 0..60_u32 {
        append_durably(&log, &n.to_le_bytes()).await;
        // Sometimes at the head, sometimes many frames behind, in the segment that is being written.
        if n % 13 == 0 {
            while expected <= n {
                let frame = soon(reader.next_durable()).await.unwrap();
                assert_eq!(payloads(&frame), [expected.to_le_bytes()]);
                expected += 1;
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_frame_stops_its_readers_and_nobody_else() {
    let disk = Faulty::new();
    let log = open(&disk, LogOptions::default()).unwrap();
    for n in 0..3 {
        append_durably(&log, &[n]).await;
    }
    log.close().await;
    let mut files = disk.files();
    let length = files[0].1.len();
    files[0].1[length - 100] ^= 1;
    // Sealed by another opening before the bit flipped, so that it is no torn tail.
    let log = open(&disk, LogOptions::default()).unwrap();
    let after = append_durably(&log, b"after").await;
    log.close().await;
    files.extend(disk.files().into_iter().skip(1));
    let log = open(&Faulty::with_files(files), LogOptions::default()).unwrap();

    let mut reader = log.reader(Offset::ZERO);
    for _ in 0..2 {
        soon(reader.next()).await.unwrap();
    }
    for _ in 0..2 {
        let error = soon(reader.next()).await.unwrap_err();
        assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
    }
    assert_eq!(soon(log.reader(after).next()).await.unwrap().first, after);
}

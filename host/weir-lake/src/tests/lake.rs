//! The lake beside the log: nothing is lacking, nothing comes twice, whatever was compacted, dropped or opened again.

use tempfile::TempDir;
use weir_core::history::{LakeState, LakeView};
use weir_log::Pins;

use super::*;
use crate::{Archive, LakeCompression, LakeOptions, Location};

/// A log of small segments and a lake, on one clock.
pub(super) struct Hub {
    pub(super) disk: Faulty,
    pub(super) clock: Clock,
    pub(super) log: Log,
    pub(super) archive: Archive,
    pub(super) folder: TempDir,
}

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn options(folder: &TempDir) -> LakeOptions {
    LakeOptions {
        location: Location::Folder(folder.path().join("lake")),
        compression: LakeCompression::Lz4,
        retain_age: 90 * DAY,
        retain_bytes: 1 << 30,
        memory: 1 << 20,
        interval: Duration::from_secs(1),
        hub: "hub".to_owned(),
        scratch: folder.path().join("new"),
    }
}

fn log_options() -> LogOptions {
    LogOptions { segment_bytes: 8_000, retain_bytes: 0, tail_bytes: 0, ..LogOptions::default() }
}

impl Hub {
    pub(super) async fn new() -> Self {
        let (disk, folder) = (Faulty::new(), tempfile::tempdir().unwrap());
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let log = Log::open(Arc::new(disk.clone()), log_options(), clock.clone()).unwrap();
        let archive = Archive::new(options(&folder), log.clone(), clock.clone()).unwrap();
        Self { disk, clock, log, archive, folder }
    }

    /// The same log and lake, opened again by another process.
    pub(super) async fn restarted(self) -> Self {
        self.log.close().await;
        let Self { disk, clock, folder, .. } = self;
        let log = Log::open(Arc::new(disk.clone()), log_options(), clock.clone()).unwrap();
        let archive = Archive::new(options(&folder), log.clone(), clock.clone()).unwrap();
        Self { disk, clock, log, archive, folder }
    }

    pub(super) async fn append(&self, topic: &str, payload: &str) {
        let message = Envelope::new(topic, "device:x", Protocol::Mqtt311, Qos::AtLeastOnce, payload.as_bytes());
        let offset = self.log.append(&[Record::Message(message)]).await.unwrap();
        self.log.durable().wait_for(offset).await.unwrap();
    }

    /// Messages with the numbers of a range, of three devices of two products and of none, over the days.
    pub(super) async fn fill(&self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            let topic = ["A1B2C3D4E5/a/event", "A1B2C3D4E5/b/event", "Z9Y8X7W6V5/a/data", "plain"][n as usize % 4];
            self.append(topic, &format!("{{\"n\":{n}}}")).await;
            self.clock.advance(DAY / 24);
        }
    }

    pub(super) async fn turn(&self) {
        self.archive.settle().await.unwrap();
    }

    /// Lets the log drop all that it may.
    pub(super) fn drop_from_log(&self) {
        self.log.enforce_retention(Pins { actions: None, floor: self.log.appended() }).unwrap();
    }

    pub(super) fn lake(&self) -> Lake {
        let catalog =
            Box::new(|| Box::pin(async { Ok(Catalog::default()) }) as weir_core::seams::BoxFuture<'static, _>);
        let archive = Some(self.archive.clone());
        Lake::new(Arc::new(self.log.clone()), archive, Vec::new(), catalog, QueryOptions::default())
    }

    pub(super) async fn query(&self, sql: &str) -> (String, ScanCounts) {
        let (batches, counts) = scanned(&self.lake(), sql, TimeRange::ALL).await.unwrap();
        (cells(&batches), counts)
    }

    /// That the messages are those with these numbers, in this order.
    pub(super) async fn holds(&self, numbers: std::ops::Range<u64>) {
        let expected: Vec<String> = ["n".to_owned()].into_iter().chain(numbers.map(|n| n.to_string())).collect();
        assert_eq!(self.query("SELECT n FROM '#'").await.0, expected.join("; "));
    }
}

#[tokio::test]
async fn what_the_log_drops_is_in_the_lake_once() {
    let mut hub = Hub::new().await;
    hub.fill(0..40).await;
    hub.archive.open().await.unwrap();
    hub.holds(0..40).await;
    hub.drop_from_log();
    assert_eq!(hub.log.oldest(), Offset::ZERO, "nothing is in the lake yet");
    hub.turn().await;
    assert_eq!(hub.archive.status().compacted_to, hub.log.sealed());
    hub.holds(0..40).await;
    hub.drop_from_log();
    assert_eq!(hub.log.oldest(), hub.log.sealed(), "all but the last segment has gone");
    hub.holds(0..40).await;
    for round in 1..4_u64 {
        hub = hub.restarted().await;
        hub.fill(40 * round..40 * (round + 1)).await;
        hub.turn().await;
        hub.holds(0..40 * (round + 1)).await;
        hub.drop_from_log();
        hub.holds(0..40 * (round + 1)).await;
    }
    let status = hub.archive.status();
    assert_eq!((status.state, status.skipped), (LakeState::Idle, 0));
    assert!(status.rows < 160 && status.rows > 120, "{status:?}");
}

/// A reader that the log's retention overtakes goes on in the lake.
#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_while_the_log_moves_into_the_lake() {
    let hub = Hub::new().await;
    hub.archive.open().await.unwrap();
    hub.fill(0..200).await;
    let past = crate::read::Past { log: Arc::new(hub.log.clone()), archive: Some(hub.archive.clone()) };
    let reading = crate::read::Reading {
        from: Offset::ZERO,
        time: TimeRange::ALL,
        wanted: crate::read::Wanted::of(None, false),
        columns: crate::read::Columns::all(),
        progress: Arc::default(),
    };
    let mut batches = past.read(reading);
    let mut read = Vec::new();
    // The reader waits for us after a few batches of the log.
    let first = batches.recv().await.unwrap().unwrap();
    read.extend(Records::try_from(&first).unwrap().offset.values().iter().copied());
    hub.turn().await;
    hub.drop_from_log();
    assert!(hub.log.oldest() > Offset::ZERO);
    while let Some(batch) = batches.recv().await {
        read.extend(Records::try_from(&batch.unwrap()).unwrap().offset.values().iter().copied());
    }
    assert_eq!(read.len(), 200);
    assert!(read.is_sorted_by(|one, other| one < other));
}

#[tokio::test]
async fn only_files_that_may_hold_what_is_wanted_are_read() {
    let hub = Hub::new().await;
    hub.fill(0..96).await;
    hub.append("plain", "{}").await;
    hub.turn().await;
    let all = hub.archive.status().files;
    assert!(all >= 12, "{all}");
    let check = async |sql: &str, rows: usize, at_most: u64| {
        let (result, counts) = hub.query(sql).await;
        assert_eq!(result.split("; ").count() - 1, rows, "{sql}: {result}");
        assert_eq!(counts.files, all, "{sql}");
        assert!(counts.files_read <= at_most && counts.row_groups_read <= at_most, "{sql}: {counts:?}");
    };
    check("SELECT n FROM '#'", 97, all).await;
    check("SELECT n FROM 'A1B2C3D4E5/#'", 48, 5).await;
    check("SELECT n FROM 'A1B2C3D4E5/a/event'", 24, 5).await;
    check("SELECT n FROM '#' WHERE msg.product = 'Z9Y8X7W6V5'", 24, 5).await;
    check("SELECT n FROM '#' WHERE msg.product IN ('Z9Y8X7W6V5', 'AAAAAAAAAA')", 24, 5).await;
    check("SELECT n FROM '#' WHERE msg.device = 'nobody'", 0, 0).await;
    check("SELECT n FROM '#' WHERE msg.topic = 'plain' OR msg.topic = 'other'", 25, 5).await;
    check("SELECT n FROM 'nothing/here'", 0, 0).await;
    let (first, counts) = hub.query("SELECT min(msg.offset) AS o, max(msg.offset) AS p FROM '#'").await;
    let offsets: Vec<u64> =
        first.split_whitespace().skip(2).map(|text| text.trim_matches(';').parse().unwrap()).collect();
    assert_eq!(counts.rows_passed, counts.rows);
    check(&format!("SELECT n FROM '#' WHERE msg.offset < {}", offsets[0] + 4), 4, 4).await;
    check(&format!("SELECT n FROM '#' WHERE msg.offset BETWEEN {0} AND {0}", offsets[0] + 4), 1, 4).await;

    // By time, as a literal and as the period that is asked for.
    let from = Timestamp(1_700_000_000_000 + 24 * 3_600_000);
    let day = TimeRange { from, to: Timestamp(from.0 + 3 * 3_600_000) };
    let (batches, counts) = scanned(&hub.lake(), "SELECT n FROM '#'", day).await.unwrap();
    assert_eq!(cells(&batches), "n; 24; 25; 26");
    assert!(counts.files_read <= 8, "{counts:?}");
    check("SELECT n FROM '#' WHERE msg.time >= '2023-11-15T22:13:20Z' AND msg.time < '2023-11-16T01:13:20Z'", 3, 8)
        .await;
}

#[tokio::test]
async fn old_files_go_and_readers_keep_what_they_read() {
    let mut hub = Hub::new().await;
    hub.fill(0..96).await;
    hub.turn().await;
    let before = hub.archive.status();
    let held = hub.archive.snapshot().unwrap();
    // All but the last day is older than that.
    hub.clock.advance(88 * DAY);
    hub.turn().await;
    let after = hub.archive.status();
    assert!(after.files < before.files && after.oldest_time > before.oldest_time, "{after:?}");
    let lake = hub.folder.path().join("lake");
    let exists = |path: &str| lake.join(path).exists();
    assert!(held.files.iter().all(|file| exists(&file.path)), "a reader holds them");
    drop(held);
    hub.turn().await;
    let files = files_of(&lake);
    assert_eq!(files.len() as u64, after.files, "{files:?}");
    // It stays so, and nothing comes back.
    hub = hub.restarted().await;
    hub.archive.open().await.unwrap();
    assert_eq!(hub.archive.status().rows, after.rows);
}

/// The Parquet files of a folder.
pub(super) fn files_of(folder: &std::path::Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_of(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path.display().to_string());
        }
    }
    files
}

#[tokio::test]
async fn a_lake_of_another_hub_or_of_a_later_log_is_left_alone() {
    let hub = Hub::new().await;
    hub.fill(0..40).await;
    hub.turn().await;
    let other = LakeOptions { hub: "other".to_owned(), ..options(&hub.folder) };
    let other = Archive::new(other, hub.log.clone(), hub.clock.clone()).unwrap();
    assert!(other.open().await.unwrap_err().to_string().starts_with("the lake belongs to another hub"));
    let error = rows(&with_archive(&hub, other), "SELECT n FROM '#'").await.unwrap_err();
    assert!(error.to_string().contains("the lake is being opened"), "{error}");

    let log = Log::open(Arc::new(Faulty::new()), log_options(), hub.clock.clone()).unwrap();
    let restored = Archive::new(options(&hub.folder), log, hub.clock.clone()).unwrap();
    let error = restored.open().await.unwrap_err().to_string();
    assert!(error.contains("which the log, in its epoch 1, never wrote"), "{error}");
}

fn with_archive(hub: &Hub, archive: Archive) -> Lake {
    let catalog = Box::new(|| Box::pin(async { Ok(Catalog::default()) }) as weir_core::seams::BoxFuture<'static, _>);
    Lake::new(Arc::new(hub.log.clone()), Some(archive), Vec::new(), catalog, QueryOptions::default())
}

/// Broken off between any two changes of the store, nothing is lost and nothing doubled: neither when the process goes on
/// (the store failed), nor when another one does (it was killed).
#[tokio::test]
async fn wherever_it_is_broken_off_nothing_is_lost_or_doubled() {
    for goes_on in [true, false] {
        for steps in 0.. {
            let mut hub = Hub::new().await;
            for n in 0..30 {
                hub.fill(n..n + 1).await;
                if n % 10 == 9 {
                    hub = hub.restarted().await;
                    hub.archive.settle().await.unwrap();
                }
            }
            hub.drop_from_log();
            hub.fill(30..60).await;
            let fuse = &hub.archive.place().fuse;
            fuse.store(steps, std::sync::atomic::Ordering::SeqCst);
            let broken = hub.archive.settle().await;
            fuse.store(i64::MAX, std::sync::atomic::Ordering::SeqCst);
            hub.drop_from_log();
            if !goes_on {
                hub = hub.restarted().await;
            }
            hub.archive.settle().await.unwrap();
            hub.drop_from_log();
            hub.holds(0..60).await;
            assert_eq!(files_of(&hub.folder.path().join("lake")).len() as u64, hub.archive.status().files);
            if broken.is_ok() {
                assert!(steps > 10, "{steps}");
                break;
            }
        }
    }
}

/// The log was full and had to drop what was not in the lake.
#[tokio::test]
async fn what_was_dropped_before_it_came_to_the_lake_is_counted() {
    let hub = Hub::new().await;
    hub.fill(0..20).await;
    hub.turn().await;
    hub.fill(20..40).await;
    let to = hub.archive.status().compacted_to;
    hub.log.archived(Offset(u64::MAX));
    hub.drop_from_log();
    let lost = hub.log.oldest().0 - to.0;
    assert!(lost > 0);
    hub.fill(40..60).await;
    hub.turn().await;
    let status = hub.archive.status();
    assert_eq!((status.skipped, status.rows), (lost, hub.log.sealed().index() - lost));
    assert_eq!(hub.query("SELECT count(*) AS n FROM '#'").await.0, format!("n; {}", 60 - lost));
}

/// What was being written when a process was killed is not part of the lake, and goes.
#[tokio::test]
async fn remains_of_a_crash_are_removed() {
    let hub = Hub::new().await;
    hub.fill(0..40).await;
    hub.turn().await;
    let lake = hub.folder.path().join("lake");
    let files = files_of(&lake);
    let remains = std::path::Path::new(&files[0]).with_file_name("000001-0000000000_000001-ffffffffff.parquet");
    std::fs::copy(&files[0], &remains).unwrap();
    let unfinished = remains.with_file_name("x.parquet#1");
    std::fs::write(&unfinished, "half").unwrap();
    let hub = hub.restarted().await;
    hub.archive.open().await.unwrap();
    assert!(!unfinished.exists() && !remains.exists());
    hub.holds(0..40).await;
}

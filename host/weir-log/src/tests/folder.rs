//! A log in a real folder, and folders of earlier versions.

use std::{env, fs, path::Path};

use super::*;
use crate::storage::fs::Folder;

fn open_folder(path: &Path) -> Result<Log, OpenError> {
    Log::open(Arc::new(Folder::open(path)?), LogOptions::default(), Clock::manual(NOW))
}

#[tokio::test]
async fn a_folder_keeps_a_log_and_one_process_has_it() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("data/log");
    let log = open_folder(&path).unwrap();
    let offset = append_durably(&log, b"kept").await;
    let error = open_folder(&path).unwrap_err().to_string();
    assert_eq!(error, format!("log folder {} is in use by another process", path.display()));
    log.close().await;
    drop(log);

    fs::write(path.join("notes.txt"), "not a segment").unwrap();
    let log = open_folder(&path).unwrap();
    assert_eq!(durable_rows(&log).unwrap(), [(offset, b"kept".to_vec())]);
    let mut reader = log.reader(Offset::ZERO);
    assert_eq!(soon(reader.next()).await.unwrap().first, offset);
    assert!(append_durably(&log, b"more").await > offset);
}

#[tokio::test]
async fn a_torn_tail_in_a_folder_is_cut_off() {
    let temporary = tempfile::tempdir().unwrap();
    let log = open_folder(temporary.path()).unwrap();
    append_durably(&log, b"kept").await;
    append_durably(&log, b"torn").await;
    log.close().await;
    drop(log);
    let segment = temporary.path().join("00000001-0000000000.seg");
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() - 5]).unwrap();
    let log = open_folder(temporary.path()).unwrap();
    assert_eq!(durable_rows(&log).unwrap().len(), 1);
    assert!(fs::metadata(&segment).unwrap().len() < bytes.len() as u64 - 5);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("file");
    fs::write(&path, "").unwrap();
    let error = open_folder(&path.join("log")).unwrap_err();
    assert!(error.to_string().contains("file/log"), "{error}");
}

/// What the folder `tests/fixtures/format-1` holds: two openings, frames with and without compression, every column.
fn fixture_rows() -> Vec<Vec<Owned>> {
    let row = |n: usize| {
        let text = |from: usize| n.is_multiple_of(from).then(|| format!("text {n} ü"));
        let topics = ["A1B2C3D4E5/dev/event", "$shadow/operation/A1B2C3D4E5/dev", "plain"];
        Owned {
            kind: (n % 11 == 3).then_some(Kind::SessionOpened),
            topic: topics[n % 3].to_owned(),
            publisher: format!("A1B2C3D4E5/dev_{n}"),
            session: text(2),
            packet_id: (n % 4 == 1).then_some(n as u16 + 1),
            protocol: Protocol::ALL[n % 7],
            qos: Qos::from_u8((n % 3) as u8).unwrap(),
            retain: n.is_multiple_of(5),
            is_text: false,
            expiry: n.is_multiple_of(7).then_some(n as u32 * 1_000),
            texts: [text(3), text(4), text(5), text(6)],
            correlation: n.is_multiple_of(9).then(|| vec![n as u8, 0, 255]),
            hop: (n % 4) as u8,
            payload: format!("{{\"temp\":{n}}}").into_bytes(),
        }
    };
    vec![(0..1).map(row).collect(), (1..100).map(row).collect(), (100..103).map(row).collect()]
}

async fn write_fixture(path: &Path) {
    let groups = fixture_rows();
    for opening in [&groups[..2], &groups[2..]] {
        let log = open_folder(path).unwrap();
        for rows in opening {
            let records: Vec<_> = rows.iter().map(Owned::record).collect();
            let first = log.append(&records).await.unwrap();
            log.durable().wait_for(first).await.unwrap();
        }
        log.close().await;
    }
    fs::remove_file(path.join("lock")).unwrap();
}

fn check_fixture(path: &Path) {
    let log = open_folder(path).unwrap();
    let batches: Vec<_> = log.scan(Offset::ZERO, Offset(u64::MAX)).collect::<Result<_, _>>().unwrap();
    let firsts = [Offset::new(1, 0), Offset::new(1, 1), Offset::new(2, 0)];
    assert_eq!(batches.len(), firsts.len());
    for ((batch, first), rows) in batches.iter().zip(firsts).zip(fixture_rows()) {
        let records = Records::try_from(batch).unwrap();
        assert_eq!(records.len(), rows.len());
        for (n, row) in rows.iter().enumerate() {
            assert_eq!((records.offset.value(n), records.accepted_at.value(n)), (first.0 + n as u64, NOW.0));
            row.check(&records, n);
        }
    }
    assert_eq!(log.oldest(), Offset::ZERO);
}

/// The committed folder was written once, by the first version of the format; it is never written again. For a new
/// version, name a folder in `WEIR_LOG_FIXTURE`, run this test, and add a test that reads it.
#[tokio::test]
async fn format_1_is_readable_for_ever() {
    if let Some(path) = env::var_os("WEIR_LOG_FIXTURE") {
        return write_fixture(Path::new(&path)).await;
    }
    let temporary = tempfile::tempdir().unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1");
    for entry in fs::read_dir(committed).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), temporary.path().join(entry.file_name())).unwrap();
    }
    check_fixture(temporary.path());

    let written = tempfile::tempdir().unwrap();
    write_fixture(written.path()).await;
    check_fixture(written.path());
}

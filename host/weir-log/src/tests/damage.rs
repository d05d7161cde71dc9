//! What was written is read, or there is an error that says where: cut, flipped, zeroed at any place.

use super::*;
use crate::{
    frame::verified_header,
    segment::{Segment, SegmentName},
};

type Files = Vec<(String, Vec<u8>)>;

/// A log of two openings and several segments, the last of which has more than one frame.
async fn files() -> (Files, Vec<(Offset, Vec<u8>)>) {
    let mut disk = Faulty::new();
    let mut rows = Vec::new();
    for epoch in 0..2_u8 {
        let log = open(&disk, LogOptions { segment_bytes: 5_000, ..LogOptions::default() }).unwrap();
        for n in 0..4 {
            let payload = vec![epoch * 10 + n; 8];
            rows.push((append_durably(&log, &payload).await, payload));
        }
        log.close().await;
        disk = disk.crash();
    }
    let files = disk.files();
    assert!(files.len() == 4 && frames(&files[3]).len() > 1, "the log has another shape");
    (files, rows)
}

/// Where in a file its frames begin.
fn frames((name, bytes): &(String, Vec<u8>)) -> Vec<usize> {
    let segment = Segment::parse(SegmentName::parse(name).unwrap(), bytes).unwrap();
    let mut at = segment.header_bytes as usize;
    let mut places = Vec::new();
    while let Some(header) = verified_header(segment.salt, &bytes[at..]) {
        places.push(at);
        at += header.frame_bytes();
    }
    places
}

/// What is read from these files, or the error's text.
fn read(files: &Files) -> Result<Vec<(Offset, Vec<u8>)>, String> {
    let log = open(&Faulty::with_files(files.clone()), LogOptions::default()).map_err(|error| error.to_string())?;
    durable_rows(&log).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_that_says_where() {
    let (files, rows) = files().await;
    let last_frame = *frames(files.last().unwrap()).last().unwrap();
    let bits: usize = files.iter().map(|(_, bytes)| bytes.len() * 8).sum();
    // Every bit would take a minute. The step is prime, so that every bit of a word is flipped somewhere.
    for bit in (0..bits).step_by(31) {
        let (mut files, mut file, mut bit) = (files.clone(), 0, bit);
        while bit >= files[file].1.len() * 8 {
            bit -= files[file].1.len() * 8;
            file += 1;
        }
        files[file].1[bit / 8] ^= 1 << (bit % 8);
        match read(&files) {
            Ok(read) if file + 1 == files.len() && bit / 8 >= last_frame => assert_eq!(read, rows[..rows.len() - 1]),
            Ok(_) => panic!("bit {bit} of {} was not noticed", files[file].0),
            Err(error) => {
                let place = error.split_once(&format!("{} is damaged at byte ", files[file].0)).map(|(_, place)| place);
                let position: String = place.expect(&error).chars().take_while(char::is_ascii_digit).collect();
                assert!(position.parse::<usize>().unwrap() <= bit / 8, "bit {bit}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_off() {
    let (files, rows) = files().await;
    let (_, last) = files.last().unwrap();
    let last_frame = *frames(files.last().unwrap()).last().unwrap();
    let check = |bytes: Vec<u8>, expected: &[(Offset, Vec<u8>)], what: &str| {
        let mut files = files.clone();
        files.last_mut().unwrap().1 = bytes;
        assert_eq!(read(&files).as_deref(), Ok(expected), "{what}");
    };
    for length in last_frame..last.len() {
        let cut = last[..length].to_vec();
        check(cut.clone(), &rows[..rows.len() - 1], &format!("cut at {length}"));
        if length % 5 > 0 {
            continue;
        }
        // The file had its length already, but not its content.
        let mut zeroed = cut;
        zeroed.resize(last.len() + 4_096, 0);
        // What is missing may have been the frame's own padding.
        let lost = usize::from(!zeroed.starts_with(last));
        check(zeroed, &rows[..rows.len() - lost], &format!("zeroed from {length}"));
    }
    let mut zeroed = last.clone();
    zeroed.resize(last.len() + 10_000, 0);
    check(zeroed, &rows, "zeros behind the last frame");
}

#[tokio::test]
async fn a_lost_end_of_a_sealed_segment_is_noticed() {
    let (files, _) = files().await;
    for file in 0..3 {
        let mut places = frames(&files[file]);
        places.push(files[file].1.len() - 8);
        for place in places {
            let mut files = files.clone();
            files[file].1.truncate(place);
            let error = read(&files).unwrap_err();
            assert!(error.contains(&files[file].0) || error.contains(&files[file + 1].0), "{error}");
        }
    }
}

#[tokio::test]
async fn a_lost_segment_is_noticed() {
    let (files, _) = files().await;
    let mut lost = files.clone();
    lost.remove(1);
    assert!(read(&lost).unwrap_err().contains("frames are lacking"), "a segment in the middle");
    let mut swapped = files.clone();
    swapped[1].1 = files[2].1.clone();
    assert!(read(&swapped).unwrap_err().contains(&files[1].0), "a segment in the place of another");
}

/// A segment whose header is not whole died while it was made.
#[tokio::test]
async fn a_segment_that_died_in_the_making_is_removed() {
    let (mut files, rows) = files().await;
    let empty = {
        let disk = Faulty::with_files(files.clone());
        let log = open(&disk, LogOptions::default()).unwrap();
        log.close().await;
        disk.files().pop().unwrap()
    };
    for length in (0..empty.1.len()).step_by(7) {
        let cut = (empty.0.clone(), empty.1[..length].to_vec());
        let zeroed = (empty.0.clone(), [cut.1.clone(), vec![0; empty.1.len() - length]].concat());
        for unborn in [cut, zeroed] {
            files.push(unborn);
            assert_eq!(read(&files).as_ref(), Ok(&rows), "length {length}");
            files.pop();
        }
    }
}

/// Frames of one group each that nobody waited for, then one that was waited for; none synced when the next was
/// written, unless `synced`.
async fn unsynced_frames(synced: bool) -> (Files, Vec<usize>) {
    let disk = Faulty::new();
    let sync = if synced { crate::SyncPolicy::Always } else { crate::SyncPolicy::Never };
    let log = open(&disk, LogOptions { sync, ..LogOptions::default() }).unwrap();
    for n in 0..4 {
        append_durably(&log, &[n; 2_000]).await;
    }
    log.close().await;
    let files = disk.files();
    let places = frames(&files[0]);
    (files, places)
}

#[tokio::test]
async fn pages_that_were_not_synced_come_to_the_disk_in_any_order() {
    let (files, places) = unsynced_frames(false).await;
    let zeroed = |from: usize, to: usize| {
        let mut files = files.clone();
        files[0].1[from..to].fill(0);
        files
    };
    // The page of the second frame's middle never came, those behind it did.
    let hole = (places[1] + 1_000).next_multiple_of(512);
    assert_eq!(read(&zeroed(hole, hole + 512)).map(|rows| rows.len()), Ok(1));
    // The second frame begins in the page that never came.
    let hole = places[1].next_multiple_of(512);
    assert_eq!(read(&zeroed(places[1], hole)).map(|rows| rows.len()), Ok(1));
    // A bit that flipped is no page that never came.
    let mut flipped = files.clone();
    flipped[0].1[places[1] + 1_000] ^= 1;
    assert!(read(&flipped).unwrap_err().contains("valid ones follow"));
    // And what was synced cannot be lacking.
    let (mut files, places) = unsynced_frames(true).await;
    let hole = (places[1] + 1_000).next_multiple_of(512);
    files[0].1[hole..hole + 512].fill(0);
    assert!(read(&files).unwrap_err().contains(&format!("damaged at byte {}", places[1])));
}

/// What a device sends is never taken for a frame.
#[tokio::test]
async fn a_payload_that_looks_like_a_frame_is_a_payload() {
    let (files, _) = unsynced_frames(true).await;
    let disk = Faulty::new();
    let log = open(&disk, LogOptions::default()).unwrap();
    append_durably(&log, b"first").await;
    append_durably(&log, &files[0].1).await;
    log.close().await;
    let mut torn = disk.files();
    let at = frames(&torn[0])[1];
    torn[0].1[at + 40] ^= 1;
    assert_eq!(read(&torn).map(|rows| rows.len()), Ok(1));
}

#[tokio::test]
async fn any_content_of_the_folder_is_an_error_at_most() {
    let (files, rows) = files().await;
    let with = |name: &str, bytes: &[u8]| {
        let mut files = files.clone();
        files.push((name.to_owned(), bytes.to_vec()));
        read(&files)
    };
    assert_eq!(with("notes.txt", b"hello").as_ref(), Ok(&rows));
    assert_eq!(with("00000001-0000000000.seg.bak", b"hello").as_ref(), Ok(&rows));
    assert!(with("00000001-0000000001.seg", b"hello").unwrap_err().contains("damaged"));
    assert!(with("00ffffff-0000000000.seg", b"").unwrap_err().contains("more often than offsets can tell apart"));
    assert!(with("00000009-0000000000.seg", &[7; 9_000]).unwrap_err().contains("does not begin as a segment"));
}

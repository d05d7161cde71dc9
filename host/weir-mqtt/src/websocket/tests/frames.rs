use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::websocket::incoming::{End, Incoming};

/// Frames that hold `expected` and are answered with `answer`.
async fn reads(frames: &[Vec<u8>], expected: &[u8], answer: &[u8]) {
    let (read, heard) = exchange(&frames.concat()).await;
    assert_eq!((read.unwrap().as_slice(), heard.as_slice()), (expected, answer));
}

/// Frames that are refused with a close code, after `expected` was read.
async fn refuses(frames: &[Vec<u8>], code: u16, reason: &str) {
    let (read, heard) = exchange(&frames.concat()).await;
    let [high, low] = code.to_be_bytes();
    assert_eq!(heard, [FINAL | CLOSE, 2, high, low], "{reason}");
    assert!(read.unwrap_err().to_string().contains(reason), "{reason}");
}

#[tokio::test]
async fn packets_are_cut_in_any_way() {
    // [MQTT-6.0.0-2], [MQTT5-6.0.0-2]
    reads(&[frame(FINAL | BINARY, b"one"), frame(FINAL | BINARY, b"two")], b"onetwo", b"").await;
    let fragments = [frame(BINARY, b"o"), frame(CONTINUATION, b""), frame(FINAL | CONTINUATION, b"ne")];
    reads(&fragments, b"one", b"").await;
    reads(&[frame(FINAL | BINARY, b"")], b"", b"").await;
    let long = vec![7; 70_000];
    reads(&[frame(FINAL | BINARY, &long)], &long, b"").await;
    reads(&[frame(FINAL | BINARY, &long[..300])], &long[..300], b"").await;
}

#[tokio::test]
async fn a_ping_is_answered_also_between_fragments() {
    let frames = [frame(BINARY, b"a"), frame(FINAL | PING, b"there?"), frame(FINAL | CONTINUATION, b"b")];
    reads(&frames, b"ab", b"\x8a\x06there?").await;
    // Only the newest of several needs an answer; a pong needs none.
    let frames = [frame(FINAL | PING, b"1"), frame(FINAL | PING, b"2"), frame(FINAL | PONG, b"x")];
    reads(&frames, b"", b"\x8a\x012").await;
}

#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let frames = [frame(FINAL | BINARY, b"last"), frame(FINAL | CLOSE, b"\x03\xe9going"), frame(FINAL | BINARY, b"no")];
    reads(&frames, b"last", b"\x88\x02\x03\xe9").await;
    reads(&[frame(FINAL | CLOSE, b"")], b"", b"\x88\x00").await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_the_code_for_it() {
    // [MQTT-6.0.0-1], [MQTT5-6.0.0-1]
    refuses(&[frame(FINAL | TEXT, b"\x10\x00")], 1003, "binary").await;
    refuses(&[frame(TEXT, b"")], 1003, "binary").await;
    refuses(&[frame(FINAL | CONTINUATION, b"x")], 1002, "continuation").await;
    refuses(&[frame(BINARY, b"x"), frame(FINAL | BINARY, b"y")], 1002, "message within").await;
    refuses(&[frame(FINAL | 0x40 | BINARY, b"x")], 1002, "reserved bit").await;
    refuses(&[frame(FINAL | 0x3, b"x")], 1002, "reserved opcode").await;
    refuses(&[frame(PING, b"x")], 1002, "control frame").await;
    refuses(&[frame(FINAL | PING, &[0; 126])], 1002, "control frame").await;
    refuses(&[b"\x82\x01x".to_vec()], 1002, "no mask").await;
    refuses(&[frame(FINAL | CLOSE, b"\x03")], 1002, "close code").await;
    refuses(&[frame(FINAL | CLOSE, b"\x03\xed")], 1002, "close code").await;
}

#[tokio::test]
async fn a_message_has_a_bound_however_it_is_cut() {
    let limit = LIMIT as usize;
    reads(
        &[frame(BINARY, &vec![0; limit - 1]), frame(FINAL | CONTINUATION, b"x")],
        &[vec![0; limit - 1], vec![b'x']].concat(),
        b"",
    )
    .await;
    refuses(&[frame(BINARY, &vec![0; limit]), frame(FINAL | CONTINUATION, b"x")], 1009, "100000 bytes").await;
    // Known from the header alone.
    refuses(&[b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04".to_vec()], 1009, "100000 bytes").await;
}

#[tokio::test]
async fn a_violation_ends_what_is_written_too() {
    let (mut near, mut far) = open();
    far.write_all(&frame(FINAL | TEXT, b"x")).await.unwrap();
    far.shutdown().await.unwrap();
    for _ in 0..2 {
        near.read_u8().await.unwrap_err();
    }
    near.write_all(b"more").await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_broke_a_rule_and_stays_is_left_soon() {
    let (mut near, mut far) = open();
    far.write_all(&frame(FINAL | TEXT, b"x")).await.unwrap();
    let began = tokio::time::Instant::now();
    near.read_u8().await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn a_write_is_one_binary_frame() {
    let (mut near, mut far) = open();
    for length in [1, 125, 126, 65_535, 65_536] {
        let payload = vec![length as u8; length];
        near.write_all(&payload).await.unwrap();
        near.flush().await.unwrap();
        let header: &[u8] = match length {
            ..126 => &[FINAL | BINARY, length as u8],
            126..65_536 => &[FINAL | BINARY, 126, (length >> 8) as u8, length as u8],
            _ => &[FINAL | BINARY, 127, 0, 0, 0, 0, 0, 1, 0, 0],
        };
        let mut sent = vec![0; header.len() + length];
        far.read_exact(&mut sent).await.unwrap();
        assert!(sent == [header, &payload].concat(), "{length}");
    }
}

#[tokio::test]
async fn a_pong_waits_for_the_end_of_a_frame_in_the_writing() {
    let (near, mut far) = duplex(16);
    let mut near = WebSocket::new(near, &[], LIMIT, Metrics::default());
    far.write_all(&frame(FINAL | PING, b"!")).await.unwrap();
    let payload = [7; 40];
    let hub = async {
        // Half of it is written when the ping is read.
        let mut begun = begin_write(&mut near, &payload).await;
        assert!(tokio::time::timeout(Duration::ZERO, near.read_u8()).await.is_err());
        while begun < payload.len() {
            begun += near.write(&payload[begun..]).await.unwrap();
        }
        near.flush().await.unwrap();
    };
    let client = async {
        let mut heard = [0; 2 + 40 + 3];
        far.read_exact(&mut heard).await.unwrap();
        heard
    };
    let ((), heard) = tokio::join!(hub, client);
    assert_eq!(heard[..3], [FINAL | BINARY, 40, 7]);
    assert_eq!(heard[42..], [FINAL | PONG, 1, b'!']);
}

/// Writes once, which the pipe has not room for.
async fn begin_write(near: &mut WebSocket<DuplexStream>, payload: &[u8]) -> usize {
    let written = near.write(payload).await.unwrap();
    assert!(written < payload.len());
    written
}

#[tokio::test]
async fn shutdown_says_close_and_waits_for_the_clients() {
    let (mut near, mut far) = open();
    let client = async {
        let mut heard = [0; 4];
        far.read_exact(&mut heard).await.unwrap();
        // What comes before its close is thrown away.
        far.write_all(&[frame(FINAL | BINARY, b"late"), frame(FINAL | CLOSE, b"\x03\xe8")].concat()).await.unwrap();
        heard
    };
    let (closed, heard) = tokio::join!(near.shutdown(), client);
    closed.unwrap();
    assert_eq!(heard, [FINAL | CLOSE, 2, 3, 0xe8]);
    assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_came_with_the_request_is_read_first() {
    let (near, mut far) = duplex(64);
    let sent = [frame(FINAL | BINARY, b"early"), frame(FINAL | BINARY, b"late")].concat();
    let (early, late) = sent.split_at(8);
    let mut near = WebSocket::new(near, early, LIMIT, Metrics::default());
    far.write_all(late).await.unwrap();
    let mut read = [0; 9];
    near.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"earlylate");
}

proptest! {
    #[test]
    fn however_the_bytes_arrive_the_same_comes_out(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let mut bytes: Vec<u8> = payloads
            .iter()
            .flat_map(|payload| [frame(FINAL | PING, b"p"), frame(FINAL | BINARY, payload)].concat())
            .collect();
        let mut incoming = Incoming::new(LIMIT);
        let (mut read, mut rest) = (Vec::new(), bytes.as_mut_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at_mut((*cut).min(rest.len()));
            let count = incoming.receive(chunk);
            read.extend_from_slice(&chunk[..count]);
            rest = after;
        }
        prop_assert_eq!(read, payloads.concat());
        prop_assert_eq!(incoming.end(), None);
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut incoming = Incoming::new(LIMIT);
        let count = incoming.receive(&mut bytes);
        prop_assert!(count <= bytes.len());
        if let Some(End::Violated(violation)) = incoming.end() {
            prop_assert!((1002..=1009).contains(&violation.close_code()));
        }
    }
}

//! Clients of MQTT 5, on the same port as all others.

use weir_broker::{CloseReason, Limits};
use weir_log::LogOptions;

use super::{
    EVENT,
    hub::{Hub, connect_5, packet, publish, publish_5, subscribe, subscribe_5},
};
use crate::client::wire::Wire;

const OTHERS: &str = "A1B2C3D4E5/b/event";

#[tokio::test]
async fn a_session_is_agreed_on() {
    let limits = Limits { receive_maximum: 7, topic_aliases: 3, payload: 1_000, ..Limits::default() };
    let hub = Hub::start_with(limits, LogOptions::default()).await;
    let mut unnamed = hub.connect(1_024);
    // 900 seconds are the longest keep-alive, and a week is the longest that a session is kept.
    unnamed.send(&connect_5(2, 0, b"\x11\xff\xff\xff\xff", "", ("admin", "secret"))).await;
    let answer = unnamed.packet().await;
    assert_eq!(answer[..4], [0x20, u8::try_from(answer.len() - 2).unwrap(), 0, 0]);
    for property in [
        &b"\x11\0\x09\x3a\x80"[..],
        b"\x21\0\x07",
        b"\x27\0\x01\x03\xed",
        b"\x12\0",
        b"auto-",
        b"\x22\0\x03",
        b"\x13\x03\x84",
    ] {
        assert!(answer.windows(property.len()).any(|bytes| bytes == property), "{property:02x?} in {answer:02x?}");
    }
    unnamed.send(b"\xe0\0").await;
    assert!(unnamed.closed().await.is_empty());
    hub.stop().await;
}

#[tokio::test]
async fn who_may_not_connect_is_told_why() {
    let hub = Hub::start().await;
    let refused = async |connect: Vec<u8>, reason: u8| {
        let mut peer = hub.connect(1_024);
        peer.send(&connect).await;
        let answer = peer.closed().await;
        assert_eq!(answer[..4], [0x20, u8::try_from(answer.len() - 2).unwrap(), 0, reason], "{answer:02x?}");
    };
    refused(connect_5(2, 0, b"", "c", ("admin", "wrong")), 0x86).await;
    refused(connect_5(2, 0, b"\x15\0\x05SCRAM", "c", ("admin", "secret")), 0x8c).await; // [MQTT5-4.12.0-1]
    // A will on the topic of another.
    let mut will = connect_5(0b110, 0, b"", "d", ("A1B2C3D4E5/dev", &hub.token));
    let at = will.windows(3).position(|bytes| bytes == b"\0\x01d").unwrap() + 3;
    will.splice(at..at, [&b"\0\0\x12"[..], OTHERS.as_bytes(), b"\0\x01x"].concat());
    will[1] += 24;
    refused(will, 0x87).await;
    hub.counted("connect", "forbidden", 1);
    hub.stop().await;
}

#[tokio::test]
async fn a_message_keeps_its_properties() {
    let hub = Hub::start().await;
    let mut old = hub.administrator("old").await;
    old.send(&subscribe("#", 1)).await;
    old.expect(b"\x90\x03\0\x01\x01").await;
    let mut reader = hub.modern("r", b"", ("admin", "secret")).await;
    reader.send(&subscribe_5(b"\x0b\x2a", "#", 1)).await;
    reader.expect(b"\x90\x04\0\x01\0\x01").await;
    let mut device = hub.modern_device(b"").await;
    let properties =
        b"\x01\x01\x02\0\0\0\x3c\x08\0\x01r\x09\0\x02\0\xff\x03\0\x01j\x26\0\x01k\0\x01v\x26\0\x01k\0\x01w";
    device.send(&publish_5(0x32, EVENT, Some(1), properties, b"hi")).await;
    device.expect(b"\x40\x02\0\x01").await;
    let sent = [&properties[..], b"\x0b\x2a"].concat(); // [MQTT5-3.3.4-3]
    reader.expect(&publish_5(0x32, EVENT, Some(1), &sent, b"hi")).await; // [MQTT5-3.3.2-17]
    old.expect(&publish(EVENT, Some(1), b"hi")).await;
    drop((old, reader, device));
    hub.stop().await;
}

#[tokio::test]
async fn a_refused_message_does_not_end_the_connection() {
    let hub = Hub::start().await;
    let mut device = hub.modern_device(b"").await;
    let batch = [
        publish_5(0x32, EVENT, Some(1), b"", b"mine"),
        publish_5(0x32, OTHERS, Some(2), b"", b"not mine"),
        publish_5(0x30, OTHERS, None, b"", b"not mine"),
        publish_5(0x34, OTHERS, Some(3), b"", b"not mine"),
        publish_5(0x32, EVENT, Some(4), b"\x01\x01", b"\xff"),
        publish_5(0x34, EVENT, Some(5), b"", b"mine"),
        b"\xc0\0".to_vec(),
    ];
    device.send(&batch.concat()).await;
    device.expect(b"\xd0\0").await;
    device.expect(b"\x40\x02\0\x01\x40\x03\0\x02\x87\x50\x03\0\x03\x87\x40\x03\0\x04\x99\x50\x02\0\x05").await;
    hub.counted("publish", "forbidden", 3);
    hub.counted("publish", "payload_format", 1);
    drop(device);
    hub.stop().await;
}

#[tokio::test]
async fn a_full_log_is_a_quota() {
    let hub = Hub::start_with(Limits::default(), LogOptions { max_bytes: 1, ..LogOptions::default() }).await;
    let mut device = hub.modern_device(b"").await;
    let batch = [publish_5(0x32, EVENT, Some(7), b"", b"x"), publish_5(0x30, EVENT, None, b"", b"x")];
    device.send(&[&batch.concat()[..], b"\xc0\0"].concat()).await;
    let mut answers = [device.packet().await, device.packet().await];
    answers.sort();
    assert_eq!(answers, [b"\x40\x03\0\x07\x97".to_vec(), b"\xd0\0".to_vec()]);
    drop(device);
    hub.stop().await;
}

#[tokio::test]
async fn who_goes_on_sending_hears_why_the_hub_closes() {
    let hub = Hub::start().await;
    let mut device = hub.modern_device(b"").await;
    // More than the stream holds comes after what is wrong.
    device.send(b"\xc1\0").await;
    device.send(&[0xc0; 200_000]).await;
    assert_eq!(device.closed().await, b"\xe0\x01\x81");
    drop(device);
    hub.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_neither_sends_nor_closes_is_left_soon() {
    let (near, _far) = tokio::io::duplex(64);
    let began = tokio::time::Instant::now();
    Wire::new(near).close().await;
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn the_hub_says_why_it_closes() {
    let hub = Hub::start().await;
    let mut first = hub.modern_device(b"").await;
    let mut second = hub.modern_device(b"").await;
    assert_eq!(first.closed().await, b"\xe0\x01\x8e"); // [MQTT5-3.1.4-3]
    hub.broker.close_device_sessions(&"A1B2C3D4E5/dev".parse().unwrap(), CloseReason::Disabled);
    assert_eq!(second.closed().await, b"\xe0\x01\x98");
    for (bytes, reason) in [
        (&b"\xf0\x01\x19"[..], 0x82), // [MQTT5-4.12.0-6]
        (b"\x20\x02\0\0", 0x82),
        (b"\x30\x02\0\0", 0x81),
        (b"\x30\x06\0\0\x03\x23\0\x01", 0x94),
        (b"\xe0\x07\0\x05\x11\0\0\0\x01", 0x82),
        (b"\x30\xff\xff\xff\x7f", 0x95),
    ] {
        let mut device = hub.modern_device(b"").await;
        device.send(bytes).await;
        assert_eq!(device.closed().await, [0xe0, 1, reason], "{bytes:02x?}");
    }
    let mut device = hub.modern_device(b"").await;
    let mut wordy = hub.connect(1_024);
    wordy.send(&connect_5(2, 0, b"", "w", ("admin", "secret"))).await;
    wordy.packet().await;
    let ((), told, wordy) = tokio::join!(hub.stop(), device.closed(), wordy.closed());
    assert_eq!(told, b"\xe0\x01\x8b");
    assert_eq!(wordy[2..7], *b"\x8b\x18\x1f\0\x15");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_with_a_word() {
    let hub = Hub::start_with(
        Limits { keep_alive: std::time::Duration::from_secs(20), ..Limits::default() },
        LogOptions::default(),
    )
    .await;
    for (keep_alive, seconds) in [(10, 15), (0, 30), (200, 30)] {
        let mut quiet = hub.connect(1_024);
        quiet.send(&connect_5(2, keep_alive, b"\x17\0", "q", ("admin", "secret"))).await;
        quiet.packet().await;
        let start = tokio::time::Instant::now();
        assert_eq!(quiet.closed().await, b"\xe0\x01\x8d"); // [MQTT5-3.1.2-22]
        assert_eq!(start.elapsed().as_secs(), seconds, "{keep_alive}");
    }
    tokio::time::resume();
    hub.stop().await;
}

#[tokio::test]
async fn aliases_stand_for_topics_both_ways() {
    let hub = Hub::start().await;
    let mut reader = hub.modern("r", b"\x22\0\x01", ("admin", "secret")).await;
    reader.send(&subscribe_5(b"", "#", 0)).await;
    reader.expect(b"\x90\x04\0\x01\0\0").await;
    let mut device = hub.modern_device(b"").await;
    let data = "A1B2C3D4E5/dev/data";
    let batch = [
        publish_5(0x30, EVENT, None, b"\x23\0\x01", b"1"),
        publish_5(0x30, "", None, b"\x23\0\x01", b"2"),
        publish_5(0x30, data, None, b"\x23\0\x01", b"3"),
        publish_5(0x30, "", None, b"\x23\0\x01", b"4"),
    ];
    device.send(&batch.concat()).await;
    reader.expect(&publish_5(0x30, EVENT, None, b"\x23\0\x01", b"1")).await;
    reader.expect(&publish_5(0x30, "", None, b"\x23\0\x01", b"2")).await;
    // There is no alias left for another topic.
    reader.expect(&publish_5(0x30, data, None, b"", b"3")).await;
    reader.expect(&publish_5(0x30, data, None, b"", b"4")).await;
    drop((reader, device));
    hub.stop().await;
}

#[tokio::test]
async fn what_a_client_does_not_take_is_not_sent() {
    let hub = Hub::start().await;
    let mut reader = hub.modern("r", b"\x27\0\0\0\x20", ("admin", "secret")).await;
    reader.send(&subscribe_5(b"", "#", 1)).await;
    reader.expect(b"\x90\x04\0\x01\0\x01").await;
    let mut device = hub.modern_device(b"").await;
    device
        .send(&[publish_5(0x30, EVENT, None, b"", &[b'x'; 40]), publish_5(0x30, EVENT, None, b"", b"fits")].concat())
        .await;
    reader.expect(&publish_5(0x30, EVENT, None, b"", b"fits")).await; // [MQTT5-3.1.2-25]
    let text = hub.metrics();
    assert!(text.lines().any(|line| line.contains("too_large") && line.ends_with(" 1")), "{text}");
    drop((reader, device));
    hub.stop().await;
}

#[tokio::test]
async fn subscriptions_are_answered_one_by_one() {
    let hub = Hub::start().await;
    let mut device = hub.modern_device(b"").await;
    let filters = [&b"\0\x05\0"[..], b"\0\x01#\x01", b"\0\x16A1B2C3D4E5/dev/control\x02"].concat();
    device.send(&packet(0x82, &filters)).await;
    device.expect(b"\x90\x05\0\x05\0\x87\x02").await;
    let filters = [&b"\0\x06\0"[..], b"\0\x16A1B2C3D4E5/dev/control", b"\0\x01#"].concat();
    device.send(&packet(0xa2, &filters)).await;
    device.expect(b"\xb0\x05\0\x06\0\0\x11").await;
    drop(device);
    hub.stop().await;
}

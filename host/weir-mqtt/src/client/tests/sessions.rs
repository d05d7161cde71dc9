//! Sessions that outlive connections, and QoS 2, as a client sees them.

use super::{
    EVENT,
    hub::{Hub, Peer, connect_5, publish, publish_5, subscribe},
};

/// CONNECT of 3.1.1 that is not clean.
fn connect_kept(client_id: &str) -> Vec<u8> {
    let mut bytes = super::hub::connect(client_id, "admin", "secret", 0, b"");
    bytes[9] &= !2;
    bytes
}

async fn kept(hub: &Hub, present: u8) -> Peer {
    let mut peer = hub.connect(65_536);
    peer.send(&connect_kept("kept")).await;
    peer.expect(&[0x20, 2, present, 0]).await; // [MQTT-3.2.2-2]
    peer
}

#[tokio::test]
async fn a_message_goes_through_exactly_once() {
    let hub = Hub::start().await;
    let (mut reader, mut device) = (hub.administrator("r").await, hub.device().await);
    reader.send(&subscribe("#", 2)).await;
    reader.expect(b"\x90\x03\0\x01\x02").await;
    let mut message = publish(EVENT, Some(9), b"once");
    message[0] = 0x34;
    device.send(&message).await;
    device.expect(b"\x50\x02\0\x09").await;
    message[0] = 0x3c;
    device.send(&message).await;
    device.expect(b"\x50\x02\0\x09").await;
    device.send(b"\x62\x02\0\x09\x62\x02\0\x08").await;
    device.expect(b"\x70\x02\0\x09\x70\x02\0\x08").await;
    let mut sent = publish(EVENT, Some(1), b"once");
    sent[0] = 0x34;
    reader.expect(&sent).await;
    reader.send(b"\x50\x02\0\x01").await;
    reader.expect(b"\x62\x02\0\x01").await;
    reader.send(b"\x70\x02\0\x01\x50\x02\0\x07").await;
    reader.expect(b"\x62\x02\0\x07").await; // Nobody sent it, and it is released all the same.
    reader.send(b"\xe0\0").await;
    assert!(reader.closed().await.is_empty(), "no second copy");
    drop(device);
    hub.stop().await;
}

#[tokio::test]
async fn a_session_goes_on_where_it_was_left() {
    let hub = Hub::start().await;
    let mut reader = kept(&hub, 0).await;
    reader.send(&subscribe("#", 2)).await;
    reader.expect(b"\x90\x03\0\x01\x02").await;
    let mut device = hub.device().await;
    let two = |id, payload: &[u8]| {
        let mut message = publish(EVENT, Some(id), payload);
        message[0] = 0x34;
        message
    };
    device.send(&[publish(EVENT, Some(1), b"a"), two(2, b"b"), two(3, b"c")].concat()).await;
    device.expect(b"\x40\x02\0\x01\x50\x02\0\x02\x50\x02\0\x03").await;
    reader.expect(&[publish(EVENT, Some(1), b"a"), two(2, b"b"), two(3, b"c")].concat()).await;
    reader.send(b"\x50\x02\0\x02").await;
    reader.expect(b"\x62\x02\0\x02").await;
    reader.send(b"\xe0\0").await;
    assert!(reader.closed().await.is_empty());
    device.send(&publish(EVENT, Some(4), b"meanwhile")).await;
    device.expect(b"\x40\x02\0\x04").await;

    let mut reader = kept(&hub, 1).await;
    let again = |mut message: Vec<u8>| {
        message[0] |= 8;
        message
    };
    // In whatever order the three kinds come, messages keep theirs [MQTT-4.4.0-1].
    let mut packets = Vec::new();
    for _ in 0..4 {
        packets.push(reader.packet().await);
    }
    let releases: Vec<_> = packets.extract_if(.., |packet| packet[0] == 0x62).collect();
    assert_eq!(releases, [b"\x62\x02\0\x02"]);
    let expected = [again(publish(EVENT, Some(1), b"a")), again(two(3, b"c")), publish(EVENT, Some(4), b"meanwhile")];
    assert_eq!(packets, expected);
    drop((reader, device));
    hub.stop().await;
}

#[tokio::test]
async fn a_retained_message_comes_after_suback() {
    let hub = Hub::start().await;
    let (mut reader, mut device) = (hub.administrator("r").await, hub.device().await);
    let mut message = publish(EVENT, Some(1), b"kept");
    message[0] |= 1;
    device.send(&message).await;
    device.expect(b"\x40\x02\0\x01").await;
    reader.send(&subscribe("#", 1)).await;
    reader.expect(b"\x90\x03\0\x01\x01").await;
    reader.expect(&message).await; // [MQTT-3.3.1-6], [MQTT-3.3.1-8]
    drop((reader, device));
    hub.stop().await;
}

#[tokio::test]
async fn a_client_of_5_says_how_long_its_session_is_kept() {
    let hub = Hub::start().await;
    let login = ("admin", "secret");
    // Kept for a minute; then not any more, by DISCONNECT.
    for (last, present) in [(&b"\xe0\0"[..], 0), (b"\xe0\x07\0\x05\x11\0\0\0\0", 1), (b"\xe0\0", 0)] {
        let mut peer = hub.connect(1_024);
        peer.send(&connect_5(0, 0, b"\x11\0\0\0\x3c", "k", login)).await;
        let answer = peer.packet().await;
        assert_eq!(answer[2..4], [present, 0]);
        peer.send(last).await;
        assert!(peer.closed().await.is_empty());
    }
    hub.stop().await;
}

#[tokio::test]
async fn identifiers_that_nobody_knows_are_said_to_be_so_in_5() {
    let hub = Hub::start().await;
    let mut device = hub.modern_device(b"").await;
    device.send(b"\x62\x02\0\x08\x50\x02\0\x07").await;
    device.expect(b"\x70\x03\0\x08\x92\x62\x03\0\x07\x92").await;
    let message = publish_5(0x34, EVENT, Some(8), b"", b"x");
    device.send(&[&message[..], b"\x62\x02\0\x08"].concat()).await;
    device.expect(b"\x50\x02\0\x08\x70\x02\0\x08").await;
    drop(device);
    hub.stop().await;
}

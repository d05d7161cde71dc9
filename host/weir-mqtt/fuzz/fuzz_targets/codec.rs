//! Whatever bytes come, in each version: frames lie within them one after the other, what is decoded borrows from its
//! frame and is as large as was allowed, and a PUBLISH that is written out again decodes to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_core::Protocol;
use weir_mqtt::codec::{
    self, Frame, Packet, Publish, frame,
    write::{self, EncodedUserProperties, Outgoing, Terms},
};

/// Bytes after the fixed header.
const LIMIT: usize = 4 * 1024;
/// Of one request.
const FILTERS: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    for protocol in [Protocol::Mqtt31, Protocol::Mqtt311, Protocol::Mqtt5] {
        read(bytes, protocol);
    }
});

fn read(mut bytes: &[u8], protocol: Protocol) {
    while let Ok(Some(frame)) = frame::split(bytes, LIMIT) {
        check_frame(&frame, bytes);
        // A connection would end at a refusal; what comes after it is a packet all the same.
        if let Ok(packet) = codec::decode(frame, protocol, FILTERS) {
            check_packet(&packet, &frame, protocol);
        }
        bytes = &bytes[frame.bytes.len()..];
    }
}

fn check_frame(frame: &Frame<'_>, bytes: &[u8]) {
    assert!(bytes.starts_with(frame.bytes) && frame.bytes.as_ptr() == bytes.as_ptr());
    assert!(frame.bytes.ends_with(frame.body) && is_within(frame.body, frame.bytes));
    assert!(frame.body.len() <= LIMIT && (2..=5).contains(&(frame.bytes.len() - frame.body.len())));
    assert_eq!(frame.bytes[0], (frame.kind as u8) << 4 | frame.flags);
    // It was whole only with its last byte, and what follows does not change it.
    assert!(frame::split(&frame.bytes[..frame.bytes.len() - 1], LIMIT).is_ok_and(|found| found.is_none()));
    assert!(frame::split(frame.bytes, LIMIT).is_ok_and(|found| found.is_some_and(|found| found.body == frame.body)));
}

fn check_packet(packet: &Packet<'_>, frame: &Frame<'_>, protocol: Protocol) {
    assert!(frame::first_type(frame.bytes, protocol).is_ok_and(|kind| kind == Some(frame.kind)));
    match packet {
        Packet::Publish(publish) => {
            check_borrowed(publish, frame.body);
            check_written(publish, frame, protocol);
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            assert_ne!(ack.packet_id, 0);
        }
        Packet::Subscribe(subscribe) => {
            assert_ne!(subscribe.packet_id, 0);
            assert!((1..=FILTERS).contains(&subscribe.filters.len()));
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert_ne!(unsubscribe.packet_id, 0);
            assert!((1..=FILTERS).contains(&unsubscribe.filters.len()));
        }
        Packet::Connect(connect) => {
            assert!(connect.will.as_ref().is_none_or(|will| will.payload.len() <= frame.body.len()));
            assert!(connect.client_id.len() <= frame.body.len());
        }
        Packet::PingReq | Packet::Disconnect(_) | Packet::Auth(_) => {}
    }
}

fn check_borrowed(publish: &Publish<'_>, body: &[u8]) {
    let properties = &publish.properties;
    let texts = [Some(publish.topic), properties.response_topic, properties.content_type];
    let blobs = [Some(publish.payload), properties.correlation];
    let mut slices: Vec<&[u8]> = texts.into_iter().flatten().map(str::as_bytes).collect();
    slices.extend(blobs.into_iter().flatten());
    slices.extend(properties.user.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
    assert!(slices.iter().all(|slice| is_within(slice, body)));
    assert!(slices.iter().map(|slice| slice.len()).sum::<usize>() <= body.len());
}

fn check_written(publish: &Publish<'_>, frame: &Frame<'_>, protocol: Protocol) {
    let properties = &publish.properties;
    let json = properties.user.to_json();
    let user = json.map(|json| EncodedUserProperties::from_json(&json).expect("what was decoded can be written"));
    let message = Outgoing {
        retain: publish.retain,
        dup: publish.dup,
        topic_alias: properties.topic_alias,
        text: properties.text,
        expiry: properties.expiry,
        content_type: properties.content_type,
        response_topic: properties.response_topic,
        correlation: properties.correlation,
        user: user.as_ref(),
        ..Outgoing::new(publish.topic, publish.payload, publish.qos, publish.packet_id.unwrap_or_default())
    };
    let mut written = Vec::new();
    write::publish(&mut written, &Terms { protocol, ..Terms::default() }, &message).expect("it came in a packet");
    assert_eq!(write::publish_size(protocol, &message), Ok(written.len()));
    assert!(written.len() <= frame.bytes.len(), "nothing was added");

    let again = frame::split(&written, LIMIT).expect("a packet").expect("a whole one");
    assert_eq!(again.bytes.len(), written.len());
    let Ok(Packet::Publish(again)) = codec::decode(again, protocol, FILTERS) else { panic!("not a PUBLISH") };
    assert!(again.properties.user.iter().eq(properties.user.iter()));
    // User properties are kept among the others, which may stand in another order now.
    let without_user = |publish: &Publish<'_>| {
        let mut publish = *publish;
        publish.properties.user = Default::default();
        format!("{publish:?}")
    };
    assert_eq!(without_user(&again), without_user(publish));
}

fn is_within(inner: &[u8], outer: &[u8]) -> bool {
    let (inner, outer) = (inner.as_ptr_range(), outer.as_ptr_range());
    inner.is_empty() || (outer.start <= inner.start && inner.end <= outer.end)
}

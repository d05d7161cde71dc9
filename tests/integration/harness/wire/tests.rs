use super::*;

const ALL: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Encodes as `hex` says, and decodes again.
fn check(version: Version, packet: &Packet, hex: &str) {
    let bytes = encode(packet, version);
    let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown, hex.replace(' ', ""), "{packet:?}");
    assert_eq!(decode(&bytes, version), Ok(Some((packet.clone(), bytes.len()))));
    for end in 0..bytes.len() {
        assert_eq!(decode(&bytes[..end], version), Ok(None), "{packet:?} cut at {end}");
    }
}

fn refuse(version: Version, bytes: &[u8]) {
    let decoded = decode(bytes, version);
    assert!(decoded.is_err(), "{bytes:02x?} passed for {decoded:?}");
}

#[test]
fn packets_are_what_the_specification_says() {
    let connect = Connect { client_id: "c".to_owned(), clean: true, keep_alive: 10, ..Connect::default() };
    check(Version::V31, &Packet::Connect(connect.clone()), "10 0f 0006 4d5149736470 03 02 000a 0001 63");
    check(Version::V311, &Packet::Connect(connect.clone()), "10 0d 0004 4d515454 04 02 000a 0001 63");
    check(Version::V5, &Packet::Connect(connect.clone()), "10 0e 0004 4d515454 05 02 000a 00 0001 63");
    let will = Will { topic: "w".to_owned(), payload: vec![0xFF], qos: 2, retain: true, properties: Vec::new() };
    let whole = Connect {
        will: Some(will),
        username: Some("u".to_owned()),
        password: Some(vec![0, 1]),
        properties: vec![Property::SessionExpiry(1)],
        ..connect
    };
    let hex = "10 21 0004 4d515454 05 f6 000a 05 11 00000001 0001 63 00 0001 77 0001 ff 0001 75 0002 0001";
    check(Version::V5, &Packet::Connect(whole), hex);
    let taken = ConnAck { session_present: true, code: 0, properties: Vec::new() };
    check(Version::V311, &Packet::ConnAck(taken.clone()), "20 02 01 00");
    let properties = vec![Property::AssignedClientId("a".to_owned()), Property::ReceiveMaximum(20)];
    check(Version::V5, &Packet::ConnAck(ConnAck { properties, ..taken }), "20 0a 01 00 07 12 0001 61 21 0014");

    let publish = Publish { dup: true, retain: true, packet_id: 7, ..Publish::new("t", 2, "xy") };
    check(Version::V311, &Packet::Publish(publish.clone()), "3d 07 0001 74 0007 78 79");
    let user = Property::User("k".to_owned(), "v".to_owned());
    let properties = vec![user.clone(), user, Property::SubscriptionIdentifier(200)];
    let hex = "3d 19 0001 74 0007 11 26 0001 6b 0001 76 26 0001 6b 0001 76 0b c801 78 79";
    check(Version::V5, &Packet::Publish(Publish { properties, ..publish }), hex);
    for version in ALL {
        check(version, &Packet::PubAck(Ack::of(7)), "40 02 0007");
        check(version, &Packet::PubRec(Ack::of(7)), "50 02 0007");
        check(version, &Packet::PubRel(Ack::of(7)), "62 02 0007");
        check(version, &Packet::PubComp(Ack::of(7)), "70 02 0007");
        check(version, &Packet::PingReq, "c0 00");
        check(version, &Packet::PingResp, "d0 00");
        check(version, &Packet::Disconnect(Reason::default()), "e0 00");
    }
    check(Version::V5, &Packet::PubRel(Ack::with_reason(7, 0x92)), "62 03 0007 92");
    check(Version::V5, &Packet::Disconnect(Reason::of(4)), "e0 01 04");
    check(Version::V5, &Packet::Auth(Reason::of(0x18)), "f0 01 18");

    let subscribe = Subscribe::new(7, &[("a", 1), ("b", 2)]);
    check(Version::V311, &Packet::Subscribe(subscribe.clone()), "82 0a 0007 0001 61 01 0001 62 02");
    check(Version::V5, &Packet::Subscribe(subscribe), "82 0b 0007 00 0001 61 01 0001 62 02");
    let acks = Acks { packet_id: 7, properties: Vec::new(), codes: vec![1, 0x80] };
    check(Version::V311, &Packet::SubAck(acks.clone()), "90 04 0007 01 80");
    check(Version::V5, &Packet::SubAck(acks.clone()), "90 05 0007 00 01 80");
    check(Version::V5, &Packet::UnsubAck(acks), "b0 05 0007 00 01 80");
    check(Version::V311, &Packet::UnsubAck(Acks { packet_id: 7, ..Acks::default() }), "b0 02 0007");
    check(Version::V5, &Packet::Unsubscribe(Unsubscribe::new(7, &["a"])), "a2 06 0007 00 0001 61");
}

#[test]
fn every_property_comes_back() {
    let text = || "t".to_owned();
    let of_connack = vec![
        Property::SessionExpiry(u32::MAX),
        Property::ServerKeepAlive(9),
        Property::AuthenticationMethod(text()),
        Property::AuthenticationData(vec![0]),
        Property::ResponseInformation(text()),
        Property::ServerReference(text()),
        Property::ReasonString(text()),
        Property::TopicAliasMaximum(9),
        Property::MaximumQos(1),
        Property::RetainAvailable(1),
        Property::MaximumPacketSize(9),
        Property::WildcardSubscriptionAvailable(1),
        Property::SubscriptionIdentifierAvailable(1),
        Property::SharedSubscriptionAvailable(1),
    ];
    let of_publish = vec![
        Property::PayloadFormat(1),
        Property::MessageExpiry(9),
        Property::ContentType(text()),
        Property::ResponseTopic(text()),
        Property::CorrelationData(vec![0]),
        Property::SubscriptionIdentifier(1),
        Property::SubscriptionIdentifier(268_435_455),
        Property::TopicAlias(9),
    ];
    let of_connect = vec![Property::RequestProblemInformation(0), Property::RequestResponseInformation(1)];
    let will = Will { properties: vec![Property::WillDelay(5)], ..Will::default() };
    let packets = [
        Packet::ConnAck(ConnAck { properties: of_connack, ..ConnAck::default() }),
        Packet::Publish(Publish { properties: of_publish, ..Publish::default() }),
        Packet::Connect(Connect { properties: of_connect, will: Some(will), ..Connect::default() }),
    ];
    for packet in packets {
        let bytes = encode(&packet, Version::V5);
        assert_eq!(decode(&bytes, Version::V5), Ok(Some((packet, bytes.len()))));
    }
}

#[test]
fn malformed_packets_are_noticed() {
    for version in ALL {
        refuse(version, &[0x00, 0]);
        refuse(version, &[0xD1, 0]);
        refuse(version, &[0x60, 2, 0, 7]);
        refuse(version, &[0x40, 2, 0, 0]);
        refuse(version, &[0x40, 1, 0]);
        refuse(version, &[0x40, 0x80, 0x00]);
        refuse(version, &[0x40, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
        // QoS 3; DUP at QoS 0; wildcards, NUL, half a letter in a topic; no topic at all.
        refuse(version, &[0x36, 6, 0, 1, b't', 0, 7, 0]);
        refuse(version, &[0x38, 4, 0, 1, b't', 0]);
        refuse(version, &[0x30, 4, 0, 1, b'#', 0]);
        refuse(version, &[0x30, 4, 0, 1, 0, 0]);
        refuse(version, &[0x30, 4, 0, 1, 0xC3, 0]);
        refuse(version, &[0x30, 3, 0, 0, 0]);
    }
    refuse(Version::V311, &[0x20, 2, 2, 0]);
    refuse(Version::V311, &[0x20, 2, 1, 5]);
    refuse(Version::V311, &[0x20, 3, 0, 0, 0]);
    refuse(Version::V311, &[0xF0, 0]);
    refuse(Version::V311, &[0xE0, 1, 0]);
    refuse(Version::V311, &[0x90, 2, 0, 7]);
    refuse(Version::V5, &[0xB0, 3, 0, 7, 0]);
    let properties = |properties| encode(&Packet::ConnAck(ConnAck { properties, ..ConnAck::default() }), Version::V5);
    refuse(Version::V5, &properties(vec![Property::WillDelay(1)]));
    refuse(Version::V5, &properties(vec![Property::TopicAlias(1)]));
    refuse(Version::V5, &properties(vec![Property::ServerKeepAlive(1), Property::ServerKeepAlive(1)]));
    refuse(Version::V5, &properties(vec![Property::ReceiveMaximum(0)]));
    refuse(Version::V5, &properties(vec![Property::RetainAvailable(2)]));
    refuse(Version::V5, &[0x20, 5, 0, 0, 2, 0x7F, 0]);
}

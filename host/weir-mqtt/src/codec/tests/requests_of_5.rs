//! What MQTT 5 adds to SUBSCRIBE and UNSUBSCRIBE, and shared subscriptions of all versions.

use super::*;

fn subscribed(protocol: Protocol, body: &[u8]) -> Subscribe {
    match decode_as(protocol, &packet(0x82, body)).unwrap() {
        Packet::Subscribe(subscribe) => subscribe,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subscribe_of_5_has_options_and_an_identifier() {
    let expected = |filter: &str, qos, no_local, retain_as_published, retain_handling| Subscription {
        filter: filter.parse().unwrap(),
        qos,
        no_local,
        retain_as_published,
        retain_handling,
        identifier: Some(128),
    };
    let body = b"\0\x05\x0a\x0b\x80\x01\x26\0\x01k\0\x01v\0\x01a\x1d\0\x01b\x20";
    let subscribe = subscribed(Protocol::Mqtt5, body);
    assert_eq!(subscribe.packet_id, 5);
    let filters = [
        expected("a", Qos::AtLeastOnce, true, true, RetainHandling::SendIfNew),
        expected("b", Qos::AtMostOnce, false, false, RetainHandling::DontSend),
    ];
    assert_eq!(subscribe.filters, filters);
    let largest = subscribed(Protocol::Mqtt5, b"\0\x01\x05\x0b\xff\xff\xff\x7f\0\x01a\0");
    assert_eq!(largest.filters[0].identifier, Some(268_435_455));
}

#[test]
fn malformed_requests_of_5_are_refused() {
    let check = |body: &[u8], error| refused_by(Protocol::Mqtt5, &packet(0x82, body), error);
    check(b"\0\x01\0\0\x01a\x40", E::Malformed("SUBSCRIBE")); // [MQTT5-3.8.3-5]
    check(b"\0\x01\0\0\x01a\x80", E::Malformed("SUBSCRIBE"));
    check(b"\0\x01\0\0\x01a\x03", E::RequestedQos); // §3.8.3.1
    check(b"\0\x01\0\0\x01a\x30", E::RetainHandling); // §3.8.3.1
    check(b"\0\x01\0", E::NoFilters); // [MQTT5-3.8.3-2]
    check(b"\0\0\0\0\x01a\0", E::PacketIdZero); // [MQTT5-2.2.1-3]
    check(b"\0\x01\x02\x0b\0\0\x01a\0", E::PropertyValue { identifier: 0x0b }); // §3.8.2.1.2
    check(b"\0\x01\x04\x0b\x01\x0b\x02\0\x01a\0", E::PropertyRepeated { identifier: 0x0b });
    check(b"\0\x01\x06\x0b\xff\xff\xff\xff\x01\0\x01a\0", E::Malformed("SUBSCRIBE"));
    check(b"\0\x01\x02\x01\0\0\x01a\0", E::Property { packet: "SUBSCRIBE", identifier: 1 });
    check(b"\0\x01\0\0\x05a/#/b\0", E::Filter(TopicError::MultiLevel)); // [MQTT5-4.7.1-1]
    check(&[b"\0\x01\0".to_vec(), b"\0\x01a\0".repeat(FILTERS + 1)].concat(), E::TooManyFilters { limit: FILTERS });
    let check = |body: &[u8], error| refused_by(Protocol::Mqtt5, &packet(0xa2, body), error);
    check(b"\0\x01\0", E::NoFilters); // [MQTT5-3.10.3-2]
    check(b"\0\x01\x02\x0b\x01\0\x01a", E::Property { packet: "UNSUBSCRIBE", identifier: 0x0b });
    check(b"\0\x01\0\0\x02a\0", E::Text); // [MQTT5-3.10.3-1]
}

#[test]
fn shared_subscriptions_are_told_apart_in_every_version() {
    let filter = b"\0\x0a$share/g/a";
    for (protocol, before, after) in [
        (Protocol::Mqtt31, &b"\0\x01"[..], &b"\x01"[..]),
        (Protocol::Mqtt311, b"\0\x01", b"\x01"),
        (Protocol::Mqtt5, b"\0\x01\0", b"\x01"),
    ] {
        let subscribe = subscribed(protocol, &[before, filter, after].concat());
        let asked = &subscribe.filters[0];
        assert_eq!((asked.filter.group(), asked.filter.filter().as_str()), (Some("g"), "a"));
        let Packet::Unsubscribe(unsubscribe) = decode_as(protocol, &packet(0xa2, &[before, filter].concat())).unwrap()
        else {
            panic!()
        };
        assert_eq!(unsubscribe.filters[0].to_string(), "$share/g/a");
    }
    let check = |filter: &str, options, error| {
        let length = [0, u8::try_from(filter.len()).unwrap()];
        let body = [b"\0\x01\0", &length[..], filter.as_bytes(), &[options]].concat();
        refused_by(Protocol::Mqtt5, &packet(0x82, &body), error);
    };
    check("$share/g/a", 0b100, E::SharedNoLocal); // [MQTT5-3.8.3-4]
    check("$share//a", 0, E::Filter(TopicError::Share)); // [MQTT5-4.8.2-1]
    check("$share/g+/a", 0, E::Filter(TopicError::Share)); // [MQTT5-4.8.2-2]
    check("$share/g", 0, E::Filter(TopicError::Share)); // [MQTT5-4.8.2-2]
}

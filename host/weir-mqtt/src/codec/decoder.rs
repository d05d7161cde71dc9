//! rumqttd's decoder, for what has passed the guards. The only module that names it, so that it can be exchanged here.

use bytes::BytesMut;
use rumqttd::protocol::{self, Protocol as _, v4::V4, v5::V5};
use weir_core::{Protocol, Qos, RetainHandling, Subscription, SubscriptionFilter};

use super::{
    Frame, Subscribe, Unsubscribe,
    connect::{ConnectProperties, Will},
};
use crate::ProtocolError;

/// What of a CONNECT is the decoder's to say.
pub(super) struct Decoded {
    pub(super) client_id: String,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) properties: ConnectProperties,
    pub(super) will: Option<Will>,
}

/// Reads a CONNECT of level 4 or 5, without user name and password. User properties are the guard's to keep.
pub(super) fn connect(frame: &[u8], protocol: Protocol) -> Result<Decoded, ProtocolError> {
    let protocol::Packet::Connect(connect, properties, will, will_properties, None) = read("CONNECT", frame, protocol)?
    else {
        return Err(ProtocolError::Malformed("CONNECT"));
    };
    Ok(Decoded {
        client_id: connect.client_id,
        clean: connect.clean_session,
        keep_alive: connect.keep_alive,
        properties: properties.map(connect_properties).unwrap_or_default(),
        will: will.map(|last| read_will(&last, will_properties)).transpose()?,
    })
}

fn connect_properties(read: protocol::ConnectProperties) -> ConnectProperties {
    let absent = ConnectProperties::default();
    let data = read.authentication_data.map(|data| data.to_vec()).unwrap_or_default();
    ConnectProperties {
        session_expiry: read.session_expiry_interval.unwrap_or(absent.session_expiry),
        receive_maximum: read.receive_maximum.unwrap_or(absent.receive_maximum),
        max_packet_size: read.max_packet_size.unwrap_or(absent.max_packet_size),
        topic_alias_maximum: read.topic_alias_max.unwrap_or(absent.topic_alias_maximum),
        request_response: read.request_response_info.map_or(absent.request_response, |flag| flag != 0),
        request_problem: read.request_problem_info.map_or(absent.request_problem, |flag| flag != 0),
        user: None,
        authentication: read.authentication_method.map(|method| super::Authentication { method, data }),
    }
}

fn read_will(
    last: &protocol::LastWill,
    properties: Option<protocol::LastWillProperties>,
) -> Result<Will, ProtocolError> {
    let topic = std::str::from_utf8(&last.topic).map_err(|_| ProtocolError::Text)?;
    let mut will = Will {
        topic: topic.parse().map_err(ProtocolError::Topic)?,
        payload: last.message.to_vec(),
        qos: qos(last.qos),
        retain: last.retain,
        delay: 0,
        text: false,
        expiry: None,
        content_type: None,
        response_topic: None,
        correlation: None,
        user: None,
    };
    if let Some(read) = properties {
        will.delay = read.delay_interval.unwrap_or(0);
        will.text = read.payload_format_indicator == Some(1);
        will.expiry = read.message_expiry_interval;
        will.content_type = read.content_type;
        will.response_topic = read.response_topic;
        will.correlation = read.correlation_data.map(|data| data.to_vec());
    }
    Ok(will)
}

pub(super) fn subscribe(frame: &Frame<'_>, protocol: Protocol) -> Result<Subscribe, ProtocolError> {
    let protocol::Packet::Subscribe(packet, properties) = read("SUBSCRIBE", frame.bytes, protocol)? else {
        return Err(ProtocolError::Malformed("SUBSCRIBE"));
    };
    let identifier = properties.and_then(|read| read.id).map(u32::try_from).transpose();
    let identifier = identifier.map_err(|_| ProtocolError::Malformed("SUBSCRIBE"))?;
    let filters: Result<Vec<_>, ProtocolError> = packet
        .filters
        .into_iter()
        .map(|read| {
            Ok(Subscription {
                filter: filter(&read.path)?,
                qos: qos(read.qos),
                no_local: read.nolocal,
                retain_as_published: read.preserve_retain,
                retain_handling: match read.retain_forward_rule {
                    protocol::RetainForwardRule::OnEverySubscribe => RetainHandling::Send,
                    protocol::RetainForwardRule::OnNewSubscribe => RetainHandling::SendIfNew,
                    protocol::RetainForwardRule::Never => RetainHandling::DontSend,
                },
                identifier,
            })
        })
        .collect();
    Ok(Subscribe { packet_id: packet.pkid, filters: filters? })
}

pub(super) fn unsubscribe(frame: &Frame<'_>, protocol: Protocol) -> Result<Unsubscribe, ProtocolError> {
    let protocol::Packet::Unsubscribe(packet, _) = read("UNSUBSCRIBE", frame.bytes, protocol)? else {
        return Err(ProtocolError::Malformed("UNSUBSCRIBE"));
    };
    let filters: Result<Vec<_>, ProtocolError> = packet.filters.iter().map(|read| filter(read)).collect();
    Ok(Unsubscribe { packet_id: packet.pkid, filters: filters? })
}

fn qos(qos: protocol::QoS) -> Qos {
    match qos {
        protocol::QoS::AtMostOnce => Qos::AtMostOnce,
        protocol::QoS::AtLeastOnce => Qos::AtLeastOnce,
        protocol::QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

/// [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-1]
fn filter(text: &str) -> Result<SubscriptionFilter, ProtocolError> {
    text.parse().map_err(ProtocolError::Filter)
}

/// Decodes one whole frame. What the guards let through the decoder understands, so its reasons are not told apart.
fn read(packet: &'static str, frame: &[u8], protocol: Protocol) -> Result<protocol::Packet, ProtocolError> {
    let mut bytes = BytesMut::from(frame);
    match protocol {
        Protocol::Mqtt5 => V5.read_mut(&mut bytes, frame.len()),
        _ => V4.read_mut(&mut bytes, frame.len()),
    }
    .map_err(|_| ProtocolError::Malformed(packet))
}

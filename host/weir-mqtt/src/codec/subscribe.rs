//! SUBSCRIBE and UNSUBSCRIBE: guarded here, decoded by rumqttd.

use weir_core::{Protocol, Subscription, SubscriptionFilter};

use super::{
    Frame, decoder,
    fields::Fields,
    properties::{Allowed, Properties, id},
};
use crate::ProtocolError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Never 0.
    pub packet_id: u16,
    /// At least one, all with the same identifier. Before MQTT 5, options are what they were by default.
    pub filters: Vec<Subscription>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Never 0.
    pub packet_id: u16,
    /// At least one.
    pub filters: Vec<SubscriptionFilter>,
}

const SUBSCRIBE_PROPERTIES: Allowed =
    Allowed { packet: "SUBSCRIBE", bits: 1 << id::SUBSCRIPTION_IDENTIFIER | 1 << id::USER };
const UNSUBSCRIBE_PROPERTIES: Allowed = Allowed { packet: "UNSUBSCRIBE", bits: 1 << id::USER };

pub(super) fn decode_subscribe(
    frame: &Frame<'_>,
    protocol: Protocol,
    max_filters: usize,
) -> Result<Subscribe, ProtocolError> {
    check_filters(frame, protocol, SUBSCRIBE_PROPERTIES, max_filters, |fields| {
        check_options(fields.byte()?, protocol)
    })?;
    let subscribe = decoder::subscribe(frame, protocol)?;
    // [MQTT5-3.8.3-4]
    if subscribe.filters.iter().any(|asked| asked.no_local && asked.filter.group().is_some()) {
        return Err(ProtocolError::SharedNoLocal);
    }
    Ok(subscribe)
}

pub(super) fn decode_unsubscribe(
    frame: &Frame<'_>,
    protocol: Protocol,
    max_filters: usize,
) -> Result<Unsubscribe, ProtocolError> {
    check_filters(frame, protocol, UNSUBSCRIBE_PROPERTIES, max_filters, |_| Ok(()))?;
    decoder::unsubscribe(frame, protocol)
}

/// The options of one filter.
fn check_options(options: u8, protocol: Protocol) -> Result<(), ProtocolError> {
    // [MQTT-3.8.3-4], [MQTT5-3.8.3-5]: the upper bits are reserved, six of them before MQTT 5.
    let reserved = if protocol == Protocol::Mqtt5 { 0b1100_0000 } else { 0b1111_1100 };
    if options & reserved != 0 {
        Err(ProtocolError::Malformed("SUBSCRIBE"))
    } else if options & 0b11 == 0b11 {
        Err(ProtocolError::RequestedQos)
    } else if options & 0b11_0000 == 0b11_0000 {
        Err(ProtocolError::RetainHandling)
    } else {
        Ok(())
    }
}

/// Walks the filters without keeping any, so that a packet of a hundred thousand of them costs nothing.
fn check_filters(
    frame: &Frame<'_>,
    protocol: Protocol,
    allowed: Allowed,
    limit: usize,
    options: impl Fn(&mut Fields<'_>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    let mut fields = Fields::new(allowed.packet, frame.body);
    fields.packet_id()?;
    if protocol == Protocol::Mqtt5 {
        Properties::take(&mut fields, allowed)?.check()?;
    }
    // [MQTT-3.8.3-3], [MQTT-3.10.3-2]
    if fields.is_empty() {
        return Err(ProtocolError::NoFilters);
    }
    let mut count = 0;
    while !fields.is_empty() {
        fields.text()?;
        options(&mut fields)?;
        count += 1;
        if count > limit {
            return Err(ProtocolError::TooManyFilters { limit });
        }
    }
    Ok(())
}

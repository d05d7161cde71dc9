//! Bytes to packets, strictly: whatever a server writes must be well-formed.

use super::{
    Ack, Acks, ConnAck, Connect, Packet, Properties, Publish, Reason, Subscribe, Unsubscribe, Version, Will,
    property::{Place, read_properties},
};

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The first packet in `bytes` and its length, or `None` if it is not complete.
pub(crate) fn decode(bytes: &[u8], version: Version) -> Result<Option<(Packet, usize)>, Malformed> {
    let Some((header, length)) = fixed_header(bytes)? else { return Ok(None) };
    let Some(body) = bytes.get(header..header + length) else { return Ok(None) };
    let mut from = Reader::of(body);
    let packet = read_packet(bytes[0], &mut from, version)?;
    if from.is_empty() { Ok(Some((packet, header + length))) } else { Err(Malformed("bytes after the packet's end")) }
}

/// The length of the fixed header, and of what follows it.
fn fixed_header(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut from = Reader::of(bytes.get(1..).unwrap_or_default());
    match from.varint() {
        Ok(length) => Ok(Some((bytes.len() - from.bytes.len(), length as usize))),
        Err(Malformed(TOO_SHORT)) => Ok(None),
        Err(malformed) => Err(malformed),
    }
}

fn read_packet(first: u8, from: &mut Reader<'_>, version: Version) -> Result<Packet, Malformed> {
    let is_5 = version == Version::V5;
    let number = first >> 4;
    let place = Place::Packet(number);
    let flags_of_the_type = if [6, 8, 10].contains(&number) { 2 } else { 0 };
    if number != 3 && first & 0x0F != flags_of_the_type {
        return Err(Malformed("reserved flags of the fixed header"));
    }
    Ok(match number {
        1 => Packet::Connect(read_connect(from, version)?),
        2 => {
            let flags = from.u8()?;
            if flags > 1 {
                return Err(Malformed("reserved flags of CONNACK"));
            }
            let code = from.u8()?;
            // [MQTT-3.2.2-4], [MQTT5-3.2.2-6]
            if flags == 1 && code != 0 {
                return Err(Malformed("a session is present although the connection is refused"));
            }
            Packet::ConnAck(ConnAck { session_present: flags == 1, code, properties: properties(from, is_5, place)? })
        }
        3 => Packet::Publish(read_publish(first, from, is_5)?),
        4 => Packet::PubAck(read_ack(from, is_5, place)?),
        5 => Packet::PubRec(read_ack(from, is_5, place)?),
        6 => Packet::PubRel(read_ack(from, is_5, place)?),
        7 => Packet::PubComp(read_ack(from, is_5, place)?),
        8 => {
            let (packet_id, properties) = (from.packet_id()?, properties(from, is_5, place)?);
            let mut filters = vec![(from.text()?, from.u8()?)];
            while !from.is_empty() {
                filters.push((from.text()?, from.u8()?));
            }
            Packet::Subscribe(Subscribe { packet_id, properties, filters })
        }
        9 => {
            let acks = read_acks(from, is_5, place)?;
            if acks.codes.is_empty() {
                return Err(Malformed("SUBACK without codes"));
            }
            Packet::SubAck(acks)
        }
        10 => {
            let (packet_id, properties) = (from.packet_id()?, properties(from, is_5, place)?);
            let mut filters = vec![from.text()?];
            while !from.is_empty() {
                filters.push(from.text()?);
            }
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
        }
        11 => {
            let acks = read_acks(from, is_5, place)?;
            if acks.codes.is_empty() == is_5 {
                return Err(Malformed("UNSUBACK has codes in MQTT 5, and only there"));
            }
            Packet::UnsubAck(acks)
        }
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => Packet::Disconnect(read_reason(from, is_5, place)?),
        15 if is_5 => Packet::Auth(read_reason(from, is_5, place)?),
        _ => return Err(Malformed("no such packet type")),
    })
}

fn read_connect(from: &mut Reader<'_>, version: Version) -> Result<Connect, Malformed> {
    let name = if version == Version::V31 { "MQIsdp" } else { "MQTT" };
    if from.text()? != name || from.u8()? != version as u8 {
        return Err(Malformed("another protocol"));
    }
    let is_5 = version == Version::V5;
    let flags = from.u8()?;
    if flags & 1 != 0 || (flags & 4 == 0 && flags & 0x38 != 0) || flags & 0x18 == 0x18 {
        return Err(Malformed("flags of CONNECT"));
    }
    let keep_alive = from.u16()?;
    let properties_of_connect = properties(from, is_5, Place::Packet(1))?;
    let client_id = from.text()?;
    let will = if flags & 4 != 0 {
        let properties = properties(from, is_5, Place::Will)?;
        let (topic, payload) = (from.text()?, from.bytes()?);
        Some(Will { topic, payload, qos: flags >> 3 & 3, retain: flags & 0x20 != 0, properties })
    } else {
        None
    };
    let username = if flags & 0x80 != 0 { Some(from.text()?) } else { None };
    let password = if flags & 0x40 != 0 { Some(from.bytes()?) } else { None };
    let properties = properties_of_connect;
    Ok(Connect { client_id, clean: flags & 2 != 0, keep_alive, will, username, password, properties })
}

fn read_publish(first: u8, from: &mut Reader<'_>, is_5: bool) -> Result<Publish, Malformed> {
    let (dup, qos, retain) = (first & 8 != 0, first >> 1 & 3, first & 1 != 0);
    if qos == 3 || (qos == 0 && dup) {
        return Err(Malformed("QoS 3, or DUP at QoS 0"));
    }
    let topic = from.text()?;
    let packet_id = if qos == 0 { 0 } else { from.packet_id()? };
    let properties = properties(from, is_5, Place::Packet(3))?;
    // [MQTT-3.3.2-2], [MQTT5-3.3.2-2]; an empty name needs an alias (section 3.3.2.1 of MQTT 5).
    let has_alias = properties.iter().any(|property| matches!(property, super::Property::TopicAlias(_)));
    if topic.contains(['+', '#']) || (topic.is_empty() && !has_alias) {
        return Err(Malformed("topic name"));
    }
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: from.rest().to_vec() })
}

fn read_ack(from: &mut Reader<'_>, is_5: bool, place: Place) -> Result<Ack, Malformed> {
    let packet_id = from.packet_id()?;
    let reason = if is_5 && !from.is_empty() { from.u8()? } else { 0 };
    let properties = if from.is_empty() { Properties::new() } else { properties(from, is_5, place)? };
    Ok(Ack { packet_id, reason, properties })
}

fn read_acks(from: &mut Reader<'_>, is_5: bool, place: Place) -> Result<Acks, Malformed> {
    let (packet_id, properties) = (from.packet_id()?, properties(from, is_5, place)?);
    Ok(Acks { packet_id, properties, codes: from.rest().to_vec() })
}

fn read_reason(from: &mut Reader<'_>, is_5: bool, place: Place) -> Result<Reason, Malformed> {
    let code = if is_5 && !from.is_empty() { from.u8()? } else { 0 };
    let properties = if from.is_empty() { Properties::new() } else { properties(from, is_5, place)? };
    Ok(Reason { code, properties })
}

fn properties(from: &mut Reader<'_>, is_5: bool, place: Place) -> Result<Properties, Malformed> {
    if is_5 { read_properties(from, place) } else { Ok(Properties::new()) }
}

const TOO_SHORT: &str = "shorter than its fields";

/// What is left of a packet to be read.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Malformed(TOO_SHORT))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self) -> Result<u8, Malformed> {
        let byte = self.u8()?;
        if byte > 1 { Err(Malformed("a flag that is neither 0 nor 1")) } else { Ok(byte) }
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    /// [MQTT-2.3.1-1], [MQTT5-2.2.1-4]
    fn packet_id(&mut self) -> Result<u16, Malformed> {
        match self.u16()? {
            0 => Err(Malformed("packet identifier 0")),
            id => Ok(id),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.u16()?;
        Ok(self.take(length.into())?.to_vec())
    }

    /// [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT5-1.5.4-1], [MQTT5-1.5.4-2]
    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let text = String::from_utf8(self.bytes()?).map_err(|_| Malformed("text that is not UTF-8"))?;
        if text.contains('\0') { Err(Malformed("text with NUL")) } else { Ok(text) }
    }

    /// [MQTT5-1.5.5-1]: in as few bytes as hold it.
    pub(super) fn varint(&mut self) -> Result<u32, Malformed> {
        let mut number = 0;
        for place in 0..4 {
            let byte = self.u8()?;
            number |= u32::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                let is_longer_than_needed = byte == 0 && place > 0;
                return if is_longer_than_needed { Err(Malformed("a length with idle bytes")) } else { Ok(number) };
            }
        }
        Err(Malformed("a length of more than four bytes"))
    }
}

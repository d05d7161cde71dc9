//! As much of MQTT 3.1.1 as a load generator needs, at every QoS, encoded once and scanned without copying.
//!
//! The hub's own codec would be the wrong measure: its cost would be in both sides of the figures.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::payload;

/// Its type alone: the flags say more.
pub(super) const PUBLISH: u8 = 3;
/// First bytes of acknowledgements, whose flags are fixed.
pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBREL: u8 = 0x62;
pub(super) const PUBCOMP: u8 = 0x70;

/// How long a broker may take to answer anything.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Who a client is.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) client_id: String,
    /// Neither this nor a password is sent if it is empty: then the transport says who the client is.
    pub(super) user: String,
    pub(super) password: String,
}

/// Connects and waits for CONNACK.
pub(super) async fn connect(address: &str, login: &Login) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.write_all(&connect_packet(login, 0)).await?;
    let mut answer = [0; 4];
    timeout(ANSWER_TIMEOUT, stream.read_exact(&mut answer)).await.context("no CONNACK came")??;
    check_connack(&answer)?;
    Ok(stream)
}

/// With a clean session; 0 seconds are no keep-alive.
pub(super) fn connect_packet(login: &Login, keep_alive: u16) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    let has_user = !login.user.is_empty();
    body.extend_from_slice(&[4, if has_user { 0b1100_0010 } else { 0b0000_0010 }]);
    body.extend_from_slice(&keep_alive.to_be_bytes());
    text(&mut body, &login.client_id);
    if has_user {
        text(&mut body, &login.user);
        text(&mut body, &login.password);
    }
    framed(0x10, &body)
}

pub(super) fn check_connack(answer: &[u8; 4]) -> Result<()> {
    let [0x20, 2, _, code] = answer else { bail!("the broker answered CONNECT with {answer:02x?}") };
    ensure!(*code == 0, "the broker refused CONNECT with return code {code}");
    Ok(())
}

/// Subscribes and waits for SUBACK.
pub(super) async fn subscribe(stream: &mut TcpStream, filter: &str, qos: u8) -> Result<()> {
    stream.write_all(&subscribe_packet(filter, qos)).await?;
    let mut answer = [0; 5];
    timeout(ANSWER_TIMEOUT, stream.read_exact(&mut answer)).await.context("no SUBACK came")??;
    check_suback(&answer, qos)
}

pub(super) fn subscribe_packet(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    text(&mut body, filter);
    body.push(qos);
    framed(0x82, &body)
}

pub(super) fn check_suback(answer: &[u8; 5], qos: u8) -> Result<()> {
    match answer {
        [0x90, 3, 0, 1, granted] if *granted == qos => Ok(()),
        [0x90, 3, 0, 1, granted] if *granted < qos => {
            bail!("the broker grants QoS {granted}, and QoS {qos} was to be measured: choose by --qos")
        }
        _ => bail!("the broker answered SUBSCRIBE with {answer:02x?}"),
    }
}

/// The first whole packet of `bytes`: type and flags, what follows the header, and the length of all.
pub(super) fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (first, rest) = bytes.split_first()?;
    let mut length = 0;
    for (index, byte) in rest.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let body = rest.get(index + 1..)?.get(..length)?;
            return Some((*first, body, index + 2 + length));
        }
    }
    None
}

/// The packet identifier (0 at QoS 0) and the payload of a PUBLISH.
pub(super) fn publish_parts(flags: u8, body: &[u8]) -> Option<(u16, &[u8])> {
    let (topic, rest) = body.split_first_chunk()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*topic))..)?;
    if flags & 0b0110 == 0 {
        return Some((0, rest));
    }
    let (id, payload) = rest.split_first_chunk()?;
    Some((u16::from_be_bytes(*id), payload))
}

/// Adds the acknowledgement that begins with `first`.
pub(super) fn acknowledge(out: &mut Vec<u8>, first: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

/// A row of PUBLISH packets of one device, encoded once and sent again and again. Above QoS 0 the packet in slot `n` has
/// identifier `n + 1`.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: Vec<u8>,
    packet_bytes: usize,
    pub(super) slots: usize,
}

impl Ring {
    pub(super) fn new(topic: &str, device: usize, qos: u8, slots: usize) -> Self {
        let mut bytes = Vec::new();
        for slot in 0..slots {
            let mut body = Vec::new();
            text(&mut body, topic);
            if qos > 0 {
                body.extend_from_slice(&(slot as u16 + 1).to_be_bytes());
            }
            body.extend_from_slice(payload::telemetry(device, slot).as_bytes());
            bytes.extend_from_slice(&framed(PUBLISH << 4 | qos << 1, &body));
        }
        Self { packet_bytes: bytes.len() / slots.max(1), bytes, slots }
    }

    /// The packets of `count` slots from `from`, stamped. They must not go round the end.
    pub(super) fn stamped(&mut self, from: usize, count: usize, microseconds: u64) -> &[u8] {
        let stamp = payload::stamp(microseconds);
        let at = self.packet_bytes - payload::BYTES + payload::STAMP_AT;
        let range = from * self.packet_bytes..(from + count) * self.packet_bytes;
        let packets = self.bytes.get_mut(range).unwrap_or_default();
        for packet in packets.chunks_exact_mut(self.packet_bytes) {
            if let Some(place) = packet.get_mut(at..at + payload::STAMP_BYTES) {
                place.copy_from_slice(&stamp);
            }
        }
        packets
    }
}

/// Adds a PUBLISH at QoS 1.
pub(super) fn publish_packet(out: &mut Vec<u8>, topic: &str, id: u16, payload: &[u8]) {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    text(&mut body, topic);
    body.extend_from_slice(&id.to_be_bytes());
    body.extend_from_slice(payload);
    out.extend_from_slice(&framed(PUBLISH << 4 | 2, &body));
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = length >> 7;
        packet.push((length & 0x7f) as u8 | if more > 0 { 0x80 } else { 0 });
        length = more;
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_read_back_packet_by_packet() {
        let mut ring = Ring::new("A1B2C3D4E5/dev00001/event", 1, 1, 20);
        let bytes = ring.stamped(5, 3, 77).to_vec();
        let mut rest = bytes.as_slice();
        for id in 6..9 {
            let (first, body, length) = packet(rest).unwrap();
            assert_eq!(first, PUBLISH << 4 | 2);
            let (found, payload) = publish_parts(first, body).unwrap();
            assert_eq!((found, payload.len()), (id, payload::BYTES));
            assert_eq!(payload::stamped(payload), Some(77));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        assert!(packet(&bytes[..100]).is_none());
    }

    #[test]
    fn a_client_without_a_user_sends_no_password() {
        let login = |user: &str| Login { client_id: "c".into(), user: user.into(), password: "p".into() };
        assert_eq!(connect_packet(&login(""), 3_600), b"\x10\x0d\0\x04MQTT\x04\x02\x0e\x10\0\x01c");
        assert_eq!(connect_packet(&login("u"), 0), b"\x10\x13\0\x04MQTT\x04\xc2\0\0\0\x01c\0\x01u\0\x01p");
    }

    #[test]
    fn a_lower_qos_than_asked_for_is_not_measured() {
        assert!(check_suback(&[0x90, 3, 0, 1, 2], 2).is_ok());
        assert!(check_suback(&[0x90, 3, 0, 1, 1], 2).unwrap_err().to_string().contains("grants QoS 1"));
        assert!(check_suback(&[0x90, 3, 0, 1, 0x80], 0).is_err());
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        assert_eq!(framed(0x30, &[0; 127]).len(), 129);
        assert_eq!(framed(0x30, &[0; 128]).len(), 131);
        assert_eq!(packet(&framed(0x30, &[0; 20_000])).unwrap().2, 20_004);
    }
}

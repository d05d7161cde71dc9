//! A TCP connection that reads and writes packets.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use super::{ConnAck, Connect, Packet, Version, decode, encode};
use crate::harness::SOON;

/// The server closed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// What came, if anything did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    Packet(Packet),
    Closed,
    /// Nothing, for as long as was waited.
    Silence,
}

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    version: Version,
    unread: Vec<u8>,
}

impl Wire {
    /// Opens a connection and says nothing.
    pub(crate) fn open(port: u16, version: Version) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        Self::on(stream, version)
    }

    /// Speaks on a connection that is already there.
    pub(crate) fn on(stream: TcpStream, version: Version) -> Self {
        stream.set_nodelay(true).unwrap();
        // A server that does not read must not hold the test for ever.
        stream.set_write_timeout(Some(SOON)).unwrap();
        Self { stream, version, unread: Vec::new() }
    }

    /// Opens a connection, sends CONNECT and reads CONNACK, whatever its code. `None`: the server closed without one.
    pub(crate) fn connect(port: u16, version: Version, connect: &Connect) -> Option<(Self, ConnAck)> {
        let mut wire = Self::open(port, version);
        let _shows_in_the_answer = wire.send(&Packet::Connect(connect.clone()));
        match wire.receive(SOON) {
            Received::Packet(Packet::ConnAck(ack)) => Some((wire, ack)),
            Received::Closed => None,
            other => panic!("no CONNACK but {other:?}"),
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn send(&mut self, packet: &Packet) -> Result<(), Closed> {
        self.send_bytes(&encode(packet, self.version))
    }

    /// Several packets in one piece.
    pub(crate) fn send_all(&mut self, packets: &[Packet]) -> Result<(), Closed> {
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| encode(packet, self.version)).collect();
        self.send_bytes(&bytes)
    }

    /// Anything at all, also half a packet.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        self.stream.set_nonblocking(false).unwrap();
        match self.stream.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                panic!("the server does not read")
            }
            Err(_) => Err(Closed),
        }
    }

    /// The next packet that comes within this time. Panics at a malformed one.
    pub(crate) fn receive(&mut self, within: Duration) -> Received {
        let deadline = Instant::now() + within;
        loop {
            match decode(&self.unread, self.version) {
                Ok(Some((packet, length))) => {
                    self.unread.drain(..length);
                    return Received::Packet(packet);
                }
                Ok(None) => {}
                Err(malformed) => panic!("the server sent {malformed:?}: {:02x?}", self.unread),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A time-out of zero would mean none at all, and short ones are as long as the system's tick.
            self.stream.set_nonblocking(left.is_zero()).unwrap();
            if !left.is_zero() {
                self.stream.set_read_timeout(Some(left)).unwrap();
            }
            let mut piece = [0; 4_096];
            match self.stream.read(&mut piece) {
                Ok(0) => return Received::Closed,
                Ok(count) => self.unread.extend(&piece[..count]),
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                    if Instant::now() >= deadline {
                        return Received::Silence;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Received::Closed,
            }
        }
    }

    /// The next packet, which must come soon.
    pub(crate) fn next(&mut self) -> Packet {
        match self.receive(SOON) {
            Received::Packet(packet) => packet,
            other => panic!("no packet: {other:?}"),
        }
    }

    /// What comes up to the answer to a PINGREQ that is sent now. The server answers in order, so its answers to all that
    /// was sent before are among it, unless they wait for something (durability, another client).
    pub(crate) fn until_pong(&mut self) -> Vec<Packet> {
        self.send(&Packet::PingReq).expect("the connection stands");
        let mut packets = Vec::new();
        loop {
            match self.next() {
                Packet::PingResp => return packets,
                packet => packets.push(packet),
            }
        }
    }

    /// Waits until the server closes. Gives what it sent before.
    pub(crate) fn until_closed(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            match self.receive(SOON) {
                Received::Packet(packet) => packets.push(packet),
                Received::Closed => return packets,
                Received::Silence => panic!("the server does not close the connection, it sent {packets:?}"),
            }
        }
    }

    /// The connection ends without DISCONNECT, as when a client's process is killed.
    pub(crate) fn cut(self) {
        let _may_be_closed_already = self.stream.shutdown(Shutdown::Both);
    }
}

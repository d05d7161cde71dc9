//! Whatever follows CONNECT, in whatever pieces, while time passes and the log becomes durable at its own pace: nothing
//! is acknowledged before it is durable or out of order, what is sent is whole packets of a server, and after the end
//! nothing is read or written.
//!
//! The first byte of an input chooses the CONNECT, the second says how many steps follow, each a byte; the rest is what
//! is sent. The steps, over and over, are the pieces that arrive, the batches, the time that passes, how far the log
//! comes, and whether it takes a batch.

#![no_main]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use weir_core::{ErrorKind, Offset, Protocol, Qos};
use weir_mqtt::{
    codec::Publish,
    codes::{self, Reason},
    connection::{Accepted, Bounds, Connection, Received, Request},
};

/// Of 3.1, of 3.1.1 clean and not, of 5 with topic aliases and with small packets, and none.
const CONNECTS: [&[u8]; 6] = [
    b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01c",
    b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c",
    b"\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01c",
    b"\x10\x11\0\x04MQTT\x05\x02\0\x0a\x03\x22\0\x05\0\x01c",
    b"\x10\x13\0\x04MQTT\x05\x02\0\x0a\x05\x27\0\0\0\x20\0\x01c",
    b"",
];
const BOUNDS: Bounds = Bounds {
    payload: 64,
    filters: 4,
    handshake: Duration::from_secs(10),
    keep_alive: 60,
    receive_maximum: 3,
    topic_aliases: 2,
};

/// An answer that is due: its first byte and packet identifier, if they are known here, and how many records must be
/// safe before.
#[derive(Debug)]
struct Due {
    what: Option<(u8, u16)>,
    records: u64,
}

#[derive(Debug)]
struct Hub {
    connection: Connection,
    now: Instant,
    out: Vec<u8>,
    due: VecDeque<Due>,
    /// Records in the log, and those of them that are safe.
    appended: u64,
    safe: u64,
}

fuzz_target!(|bytes: &[u8]| {
    let [choice, steps, rest @ ..] = bytes else { return };
    let connect = CONNECTS[usize::from(*choice) % CONNECTS.len()];
    let Some((steps, traffic)) = rest.split_at_checked(usize::from(*steps) % 16 + 1) else { return };
    Hub::new().serve(&[connect, traffic].concat(), steps);
});

impl Hub {
    fn new() -> Self {
        let now = Instant::now();
        let connection = Connection::new(BOUNDS, now);
        Self { connection, now, out: Vec::new(), due: VecDeque::new(), appended: 0, safe: 0 }
    }

    fn serve(mut self, bytes: &[u8], steps: &[u8]) {
        let (mut start, mut end) = (0, 0);
        // A batch may be asked for again and again, but not for ever.
        for step in steps.iter().cycle().take(4 * bytes.len() + 16) {
            end = bytes.len().min(end + usize::from(step % 32));
            self.now += Duration::from_millis(u64::from(*step) * 20);
            if self.connection.check(self.now).is_err() {
                assert!(self.connection.deadline().is_some_and(|deadline| deadline <= self.now));
                return self.end(Reason::KeepAliveTimeout, &bytes[start..]);
            }
            match self.receive(&bytes[start..end], *step) {
                Ok((consumed, true)) => start += consumed,
                Ok((consumed, false)) => return self.left(&bytes[start + consumed..]),
                Err(reason) => return self.end(reason, &bytes[start..]),
            }
            let appended = self.appended;
            self.durable(appended.min(self.safe + u64::from(step % 3)));
        }
        self.durable(self.appended);
        assert!(self.due.is_empty() && self.connection.waiting() == 0, "{:?}", self.due);
    }

    /// How many bytes are done with and whether the client stays, or why it may not.
    fn receive(&mut self, bytes: &[u8], step: u8) -> Result<(usize, bool), Reason> {
        let waiting = self.connection.waiting();
        let batch = usize::from(step % 5) + 1;
        let found = self.connection.receive(bytes, batch, self.now, &mut self.out);
        let Received { consumed, publishes, refused, request, .. } = found.map_err(codes::violation_reason)?;
        assert!(consumed <= bytes.len() && publishes.len() <= batch);
        assert!(publishes.is_empty() || request.is_none());
        assert!(publishes.iter().all(|publish| !self.connection.topic(publish).is_empty()));
        if refused.is_some() && self.connection.waiting() > waiting {
            self.due.push_back(Due { what: None, records: 0 });
        }
        if !publishes.is_empty() && !self.publish(&publishes, step)? {
            return Ok((0, true));
        }
        let stays = request.map_or(Ok(true), |request| self.answer(request, step))?;
        Ok((consumed, stays))
    }

    /// Whether the log took the batch.
    fn publish(&mut self, publishes: &[Publish<'_>], step: u8) -> Result<bool, Reason> {
        if step % 7 == 0 {
            return Ok(false);
        }
        if step % 11 == 0 {
            if self.connection.terms().protocol != Protocol::Mqtt5 {
                return Err(Reason::NotAuthorized);
            }
            for publish in publishes {
                self.connection.not_published(publish, ErrorKind::Forbidden);
            }
        } else {
            self.appended += 1;
            self.connection.published(publishes, Offset(self.appended - 1));
        }
        let records = if step % 11 == 0 { 0 } else { self.appended };
        for (publish, packet_id) in publishes.iter().filter_map(|publish| Some(publish).zip(publish.packet_id)) {
            let kind = if publish.qos == Qos::ExactlyOnce { 0x50 } else { 0x40 };
            self.due.push_back(Due { what: Some((kind, packet_id)), records });
        }
        Ok(true)
    }

    /// Whether the client stays.
    fn answer(&mut self, request: Request, step: u8) -> Result<bool, Reason> {
        // Half of the identifiers of QoS 2 are in use.
        let mut record = || {
            self.appended += u64::from(step & 0x40 != 0);
            (step & 0x40 != 0).then(|| Offset(self.appended - 1))
        };
        let answered = match request {
            Request::Connect(_) => self.connection.accepted(&Accepted::default(), self.now, &mut self.out),
            Request::Subscribe(subscribe) => {
                assert!(subscribe.filters.len() <= BOUNDS.filters);
                let granted: Vec<_> = subscribe.filters.iter().map(|filter| Ok(filter.qos)).collect();
                self.connection.subscribed(subscribe.packet_id, &granted, &mut self.out)
            }
            Request::Unsubscribe(unsubscribe) => {
                let held = vec![step & 0x40 != 0; unsubscribe.filters.len()];
                self.connection.unsubscribed(unsubscribe.packet_id, &held, &mut self.out)
            }
            Request::Received(packet_id) => {
                let record = record();
                self.connection.received(packet_id, record);
                let records = record.map_or(0, |offset| offset.0 + 1);
                self.due.push_back(Due { what: Some((0x62, packet_id)), records });
                Ok(())
            }
            Request::Release(packet_id) => {
                let record = record();
                self.connection.released(packet_id, record);
                let records = record.map_or(0, |offset| offset.0 + 1);
                self.due.push_back(Due { what: Some((0x70, packet_id)), records });
                Ok(())
            }
            Request::Disconnect(_) => return Ok(false),
        };
        answered.map(|()| true).map_err(|_| Reason::PacketTooLarge)
    }

    fn durable(&mut self, safe: u64) {
        self.safe = safe;
        self.connection.durable(Offset(safe), &mut self.out);
        self.check_sent();
    }

    /// Every answer that was sent is the next that is due, and what it answers is safe.
    fn check_sent(&mut self) {
        let mut rest = &self.out[..];
        while let Some((first, body, after)) = packet(rest) {
            rest = after;
            if !matches!(first, 0x40 | 0x50 | 0x62 | 0x70) {
                continue;
            }
            let Due { what, records } = self.due.pop_front().expect("an answer to nothing");
            assert!(what.is_none_or(|what| what == (first, u16::from_be_bytes([body[0], body[1]]))), "{what:?}");
            assert!(records <= self.safe, "{what:?} before it is durable");
        }
        self.out.clear();
    }

    /// The hub ends it.
    fn end(mut self, reason: Reason, rest: &[u8]) {
        self.connection.farewell(reason, "for a reason", &mut self.out);
        self.check_sent();
        self.connection.farewell(reason, "twice", &mut self.out);
        self.connection.durable(Offset(self.appended), &mut self.out);
        assert!(self.out.is_empty(), "after the end: {:?}", self.out);
        self.closed(rest);
    }

    /// The client ends it; what it sent before is acknowledged all the same.
    fn left(mut self, rest: &[u8]) {
        self.durable(self.appended);
        assert!(self.due.is_empty() && self.connection.waiting() == 0, "{:?}", self.due);
        self.connection.farewell(Reason::ServerShuttingDown, "", &mut self.out);
        assert!(self.out.is_empty(), "the client has left");
        self.closed(rest);
    }

    fn closed(mut self, rest: &[u8]) {
        for bytes in [rest, CONNECTS[1], b"\xc0\0"] {
            let received = self.connection.receive(bytes, 1, self.now, &mut self.out).expect("nothing is read");
            assert!(received.consumed == 0 && received.publishes.is_empty() && received.request.is_none());
        }
        assert_eq!(self.connection.deadline(), None);
        assert!(self.out.is_empty());
    }
}

/// The first packet that the hub sent, which is whole: its first byte, what follows its header, and what follows it.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let is_a_servers = matches!(first, 0x20 | 0x40 | 0x50 | 0x62 | 0x70 | 0x90 | 0xb0 | 0xd0 | 0xe0);
    assert!(is_a_servers, "{first:#x} is no packet of a server");
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let (byte, after) = rest.split_first().expect("a whole header");
        rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (body, after) = rest.split_at_checked(length).expect("a whole packet");
            return Some((*first, body, after));
        }
    }
    panic!("a remaining length of more than four bytes");
}

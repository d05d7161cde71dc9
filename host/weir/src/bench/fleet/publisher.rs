//! One publisher, and the window of what it has sent.

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::Run;
use crate::bench::{
    payload,
    wire::{self, ANSWER_TIMEOUT, Login, Ring},
};

/// Bytes of acknowledgements read at once.
const READ_BYTES: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct Publisher {
    stream: TcpStream,
    ring: Ring,
    qos: u8,
    /// Where in the ring to go on.
    next: usize,
    /// Whether acknowledgements are timed.
    timed: bool,
}

/// What came of one publisher's part.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) hot: u64,
    pub(super) latencies: Vec<u32>,
}

/// Messages of a ring that are on their way: slots from `oldest` on, of which those before `to_receive` have their
/// PUBREC at QoS 2.
#[derive(Debug)]
struct Window {
    sent_at: Vec<u64>,
    oldest: usize,
    to_receive: usize,
    inflight: usize,
}

impl Publisher {
    pub(super) async fn connect(
        address: &str,
        login: &Login,
        topic: &str,
        number: usize,
        qos: u8,
        slots: usize,
        timed: bool,
    ) -> Result<Self> {
        let stream = wire::connect(address, login).await?;
        Ok(Self { stream, ring: Ring::new(topic, number, qos, slots), qos, next: 0, timed })
    }

    /// Publishes until nothing is left.
    pub(super) async fn publish(&mut self, run: &Run) -> Result<Part> {
        if self.qos == 0 { self.pour(run).await } else { self.converse(run).await }
    }

    /// QoS 0: batches, while the subscribers keep up.
    async fn pour(&mut self, run: &Run) -> Result<Part> {
        let mut part = Part::default();
        loop {
            let count = run.claim_heard(self.ring.slots, true).await?;
            if count == 0 {
                return Ok(part);
            }
            part.hot += (0..count).filter(|slot| payload::is_hot(*slot)).count() as u64;
            let packets = self.ring.stamped(0, count, run.microseconds());
            timeout(ANSWER_TIMEOUT, self.stream.write_all(packets)).await.context("the broker stopped reading")??;
        }
    }

    /// QoS 1 and 2: as many as the window allows; each PUBACK or PUBCOMP makes room for one more.
    async fn converse(&mut self, run: &Run) -> Result<Part> {
        let mut part = Part::default();
        let slots = self.ring.slots;
        let mut window = Window { sent_at: vec![0; slots], oldest: self.next, to_receive: self.next, inflight: 0 };
        let mut buffer = vec![0; READ_BYTES];
        let mut held = 0;
        loop {
            // Up to the end of the ring; what is left of the window comes with the next turn.
            let room = (slots - window.inflight).min(slots - self.next);
            let count = run.claim_heard(room, window.inflight == 0).await?;
            if count > 0 {
                let now = run.microseconds();
                for (slot, at) in window.sent_at.iter_mut().enumerate().skip(self.next).take(count) {
                    *at = now;
                    part.hot += u64::from(payload::is_hot(slot));
                }
                let packets = self.ring.stamped(self.next, count, now);
                timeout(ANSWER_TIMEOUT, self.stream.write_all(packets))
                    .await
                    .context("the broker stopped reading")??;
                self.next = (self.next + count) % slots;
                window.inflight += count;
                if window.inflight < slots && self.next == 0 {
                    continue;
                }
            }
            if window.inflight == 0 {
                return Ok(part);
            }
            let free = buffer.get_mut(held..).unwrap_or_default();
            let read = timeout(ANSWER_TIMEOUT, self.stream.read(free)).await.context("no acknowledgement came")??;
            ensure!(read > 0, "the broker closed a publisher's connection");
            held += read;
            let now = run.microseconds();
            let mut done = 0;
            let mut releases = Vec::new();
            while let Some((first, body, length)) = wire::packet(buffer.get(done..held).unwrap_or_default()) {
                done += length;
                if let Some(sent_at) = window.acknowledge(self.qos, first, body, &mut releases)?
                    && self.timed
                {
                    part.latencies.push(u32::try_from(now.saturating_sub(sent_at)).unwrap_or(u32::MAX));
                }
            }
            buffer.copy_within(done..held, 0);
            held -= done;
            if !releases.is_empty() {
                self.stream.write_all(&releases).await.context("a publisher's connection")?;
            }
        }
    }
}

impl Window {
    /// Takes an acknowledgement, adds the PUBREL that answers a PUBREC, and says when a message was sent that is done by
    /// it.
    fn acknowledge(&mut self, qos: u8, first: u8, body: &[u8], releases: &mut Vec<u8>) -> Result<Option<u64>> {
        let slots = self.sent_at.len();
        // Acknowledgements come in the order of the messages [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT-4.6.0-4].
        let (slot, is_last) = match (qos, first) {
            (1, wire::PUBACK) | (2, wire::PUBCOMP) => (self.oldest, true),
            (2, wire::PUBREC) => (self.to_receive, false),
            _ => bail!("a publisher at QoS {qos} was sent a packet {first:02x}"),
        };
        let id = slot as u16 + 1;
        ensure!(body == id.to_be_bytes(), "{first:02x} of packet {id} was expected, {body:02x?} came");
        if is_last {
            self.oldest = (self.oldest + 1) % slots;
            self.inflight = self.inflight.saturating_sub(1);
            return Ok(self.sent_at.get(slot).copied());
        }
        self.to_receive = (self.to_receive + 1) % slots;
        wire::acknowledge(releases, wire::PUBREL, id);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        Window { sent_at: vec![10, 20], oldest: 1, to_receive: 1, inflight: 2 }
    }

    #[test]
    fn a_puback_ends_the_oldest_message() {
        let (mut window, mut releases) = (window(), Vec::new());
        assert_eq!(window.acknowledge(1, wire::PUBACK, &[0, 2], &mut releases).unwrap(), Some(20));
        assert_eq!(window.acknowledge(1, wire::PUBACK, &[0, 1], &mut releases).unwrap(), Some(10));
        assert_eq!((window.inflight, releases.len()), (0, 0));
    }

    #[test]
    fn at_qos_2_a_message_is_released_and_then_ends() {
        let (mut window, mut releases) = (window(), Vec::new());
        assert_eq!(window.acknowledge(2, wire::PUBREC, &[0, 2], &mut releases).unwrap(), None);
        assert_eq!(window.acknowledge(2, wire::PUBREC, &[0, 1], &mut releases).unwrap(), None);
        assert_eq!(releases, b"\x62\x02\0\x02\x62\x02\0\x01");
        assert_eq!(window.acknowledge(2, wire::PUBCOMP, &[0, 2], &mut releases).unwrap(), Some(20));
        assert_eq!(window.inflight, 1);
    }

    #[test]
    fn what_comes_out_of_order_is_an_error() {
        let mut releases = Vec::new();
        window().acknowledge(1, wire::PUBACK, &[0, 1], &mut releases).unwrap_err();
        window().acknowledge(1, wire::PUBREC, &[0, 2], &mut releases).unwrap_err();
        window().acknowledge(2, wire::PUBACK, &[0, 2], &mut releases).unwrap_err();
    }
}

//! One subscriber: counts what comes, and acknowledges it.

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::bench::{
    payload,
    wire::{self, Login},
};

/// One delivery in this many is timed.
const SAMPLE_EVERY: u64 = 16;
/// Bytes read at once: enough for a thousand messages, in a buffer that is held by a subscriber only.
const READ_BYTES: usize = 256 * 1024;
/// The same where there are many subscribers, each with a part of the messages.
const SMALL_READ_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Subscriber {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that are no whole packet yet.
    held: usize,
    /// Whether deliveries are timed.
    sampled: bool,
    received: u64,
}

impl Subscriber {
    pub(super) async fn connect(address: &str, login: &Login, filter: &str, qos: u8, sampled: bool) -> Result<Self> {
        let mut stream = wire::connect(address, login).await?;
        wire::subscribe(&mut stream, filter, qos).await?;
        Ok(Self { stream, buffer: vec![0; SMALL_READ_BYTES], held: 0, sampled, received: 0 })
    }

    /// Counts what comes until the run is over. Answers with what it timed.
    pub(super) async fn hear(&mut self, run: &Run, over: &CancellationToken) -> Result<Vec<u32>> {
        let mut latencies = Vec::new();
        let mut acknowledgements = Vec::new();
        loop {
            let room = self.buffer.get_mut(self.held..).unwrap_or_default();
            let offered = room.len();
            let read = tokio::select! {
                read = self.stream.read(room) => read.context("a subscriber's connection")?,
                () = over.cancelled() => return Ok(latencies),
            };
            ensure!(read > 0, "the broker closed a subscriber's connection");
            self.held += read;
            let count = self.scan(run, &mut latencies, &mut acknowledgements)?;
            // Before it is counted: a run that is complete may end at once.
            if !acknowledgements.is_empty() {
                self.stream.write_all(&acknowledgements).await.context("a subscriber's connection")?;
                acknowledgements.clear();
            }
            if count > 0 {
                run.heard(count);
            }
            if read == offered && self.buffer.len() < READ_BYTES {
                self.buffer.resize(READ_BYTES, 0);
            }
        }
    }

    /// Takes the whole packets out of the buffer, and says how many of them were messages.
    fn scan(&mut self, run: &Run, latencies: &mut Vec<u32>, acknowledgements: &mut Vec<u8>) -> Result<u64> {
        let now = run.microseconds();
        let mut done = 0;
        let before = self.received;
        while let Some((first, body, length)) = wire::packet(self.buffer.get(done..self.held).unwrap_or_default()) {
            done += length;
            if first == wire::PUBREL {
                let id = body.first_chunk().copied().map(u16::from_be_bytes).context("a PUBREL was malformed")?;
                wire::acknowledge(acknowledgements, wire::PUBCOMP, id);
                continue;
            }
            ensure!(first >> 4 == wire::PUBLISH, "a subscriber was sent a packet {first:02x}");
            let (id, payload) = wire::publish_parts(first, body).context("a PUBLISH was malformed")?;
            ensure!(payload.len() == payload::BYTES, "a payload arrived with {} bytes", payload.len());
            match first >> 1 & 3 {
                0 => {}
                1 => wire::acknowledge(acknowledgements, wire::PUBACK, id),
                2 => wire::acknowledge(acknowledgements, wire::PUBREC, id),
                _ => bail!("a PUBLISH had QoS 3"),
            }
            self.received += 1;
            if self.sampled
                && self.received.is_multiple_of(SAMPLE_EVERY)
                && let Some(stamp) = payload::stamped(payload)
            {
                latencies.push(u32::try_from(now.saturating_sub(stamp)).unwrap_or(u32::MAX));
            }
        }
        self.buffer.copy_within(done..self.held, 0);
        self.held -= done;
        Ok(self.received - before)
    }
}

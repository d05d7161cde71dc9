//! The load: devices that publish as fast as their windows allow, and the one subscriber that hears them all.
//!
//! Nothing is sent that could not be heard: at QoS 1 each device has a window of unacknowledged messages; at QoS 0 all
//! devices together have a window of messages that the subscriber has not received yet. So neither broker is measured
//! while it drops.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use super::{
    payload,
    wire::{self, ANSWER_TIMEOUT, Login, Ring},
};

/// Messages of all devices together that are sent at QoS 0 and not yet received.
const QOS0_WINDOW: usize = 10_000;
/// Messages that a device writes at once at QoS 0.
const QOS0_BATCH: usize = 50;
/// How long the subscriber waits in silence before what is outstanding counts as lost.
const SILENCE: Duration = Duration::from_secs(3);
/// One delivery in this many is timed at QoS 0.
const SAMPLE_EVERY: u64 = 16;
const READ_BYTES: usize = 256 * 1024;

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) messages: u64,
    /// Sending stops then even if there are messages left.
    pub(super) at_most: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) sent: u64,
    /// Of those, with a temperature above 30.
    pub(super) hot: u64,
    pub(super) received: u64,
    /// From the first publish to the last delivery.
    pub(super) elapsed: Duration,
    /// Microseconds: to the PUBACK at QoS 1, to the delivery at QoS 0.
    pub(super) latencies: Vec<u32>,
}

/// One device.
#[derive(Debug)]
struct Publisher {
    stream: TcpStream,
    ring: Ring,
    /// Where in the ring to go on.
    next: usize,
}

#[derive(Debug)]
struct Subscriber {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that are no whole packet yet.
    held: usize,
}

#[derive(Debug)]
pub(super) struct Fleet {
    publishers: Vec<Publisher>,
    subscriber: Subscriber,
    qos: u8,
}

/// What the tasks of one run share.
#[derive(Debug)]
struct Run {
    began: Instant,
    ends: Instant,
    /// Messages not yet claimed by a device.
    left: AtomicU64,
    sent: AtomicU64,
    all_sent: AtomicBool,
    credit: Semaphore,
}

impl Fleet {
    /// Connects everyone. The devices publish to `PRODUCT/NAME/event` in the order of their logins.
    pub(super) async fn connect(
        address: &str,
        product: &str,
        devices: &[Login],
        application: &Login,
        qos: u8,
        window: usize,
    ) -> Result<Self> {
        let mut stream = wire::connect(address, application).await.context("the subscriber")?;
        wire::subscribe(&mut stream, &format!("{product}/+/event"), qos).await?;
        let subscriber = Subscriber { stream, buffer: vec![0; READ_BYTES], held: 0 };
        let mut publishers = Vec::with_capacity(devices.len());
        for (number, login) in devices.iter().enumerate() {
            let stream = wire::connect(address, login).await.with_context(|| format!("device {number}"))?;
            let topic = format!("{product}/{}/event", payload::device_name(number));
            let slots = if qos == 0 { QOS0_BATCH } else { window };
            publishers.push(Publisher { stream, ring: Ring::new(&topic, number, qos, slots), next: 0 });
        }
        Ok(Self { publishers, subscriber, qos })
    }

    /// Sends a load and waits until it is received, or until nothing comes any more.
    pub(super) async fn send(&mut self, load: Load) -> Result<Outcome> {
        let began = Instant::now();
        let run = Arc::new(Run {
            began,
            ends: began + load.at_most,
            left: AtomicU64::new(load.messages),
            sent: AtomicU64::new(0),
            all_sent: AtomicBool::new(false),
            credit: Semaphore::new(QOS0_WINDOW),
        });
        let mut tasks = JoinSet::new();
        for mut publisher in self.publishers.drain(..) {
            let (run, qos) = (Arc::clone(&run), self.qos);
            tasks.spawn(async move {
                let outcome = if qos == 0 { publisher.pour(&run).await } else { publisher.converse(&run).await };
                outcome.map(|outcome| (publisher, outcome))
            });
        }
        let mut outcome = Outcome::default();
        let publishing = async {
            let mut publishers = Vec::new();
            while let Some(ended) = tasks.join_next().await {
                let (publisher, part) = ended.context("a publisher panicked")??;
                publishers.push(publisher);
                outcome.hot += part.hot;
                outcome.latencies.extend(part.latencies);
            }
            run.all_sent.store(true, Ordering::Release);
            Ok(publishers)
        };
        let (publishers, heard) = tokio::try_join!(publishing, self.subscriber.hear(&run, self.qos))?;
        self.publishers = publishers;
        outcome.sent = run.sent.load(Ordering::Acquire);
        outcome.received = heard.received;
        outcome.elapsed = heard.elapsed;
        outcome.latencies.extend(heard.latencies);
        Ok(outcome)
    }
}

impl Run {
    /// Takes up to `count` of the messages that are left.
    fn claim(&self, count: usize) -> usize {
        if Instant::now() >= self.ends {
            return 0;
        }
        let mut taken = 0;
        // The closure always answers, so the update cannot fail.
        let _left = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            taken = left.min(count as u64);
            Some(left - taken)
        });
        self.sent.fetch_add(taken, Ordering::AcqRel);
        taken as usize
    }

    fn microseconds(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }
}

impl Publisher {
    /// QoS 0: batches, while the subscriber keeps up.
    async fn pour(&mut self, run: &Run) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        loop {
            let count = run.claim(self.ring.slots);
            if count == 0 {
                return Ok(outcome);
            }
            run.credit.acquire_many(count as u32).await.context("the window closed")?.forget();
            outcome.hot += (0..count).filter(|slot| payload::is_hot(*slot)).count() as u64;
            let packets = self.ring.stamped(0, count, run.microseconds());
            timeout(ANSWER_TIMEOUT, self.stream.write_all(packets)).await.context("the broker stopped reading")??;
        }
    }

    /// QoS 1: as many as the window allows; each PUBACK makes room for one more.
    async fn converse(&mut self, run: &Run) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let slots = self.ring.slots;
        let mut sent_at = vec![0_u64; slots];
        let (mut oldest, mut inflight) = (self.next, 0);
        let mut buffer = vec![0; 4 * 1024];
        let mut held = 0;
        loop {
            // Up to the end of the ring; what is left of the window comes with the next turn.
            let count = run.claim((slots - inflight).min(slots - self.next));
            if count > 0 {
                let now = run.microseconds();
                for (slot, at) in sent_at.iter_mut().enumerate().skip(self.next).take(count) {
                    *at = now;
                    outcome.hot += u64::from(payload::is_hot(slot));
                }
                let packets = self.ring.stamped(self.next, count, now);
                timeout(ANSWER_TIMEOUT, self.stream.write_all(packets))
                    .await
                    .context("the broker stopped reading")??;
                self.next = (self.next + count) % slots;
                inflight += count;
                if inflight < slots && self.next == 0 {
                    continue;
                }
            }
            if inflight == 0 {
                return Ok(outcome);
            }
            let room = buffer.get_mut(held..).unwrap_or_default();
            let read = timeout(ANSWER_TIMEOUT, self.stream.read(room)).await.context("no PUBACK came")??;
            ensure!(read > 0, "the broker closed a publisher's connection");
            held += read;
            let now = run.microseconds();
            let mut done = 0;
            while let Some((first, body, length)) = wire::packet(buffer.get(done..held).unwrap_or_default()) {
                done += length;
                // [MQTT-4.6.0-2]: acknowledgements come in the order of the messages.
                let expected = (oldest as u16 + 1).to_be_bytes();
                if first != wire::PUBACK << 4 || body != expected {
                    bail!("PUBACK of packet {} was expected, {first:02x} {body:02x?} came", oldest + 1);
                }
                let at = sent_at.get(oldest).copied().unwrap_or(now);
                outcome.latencies.push(u32::try_from(now.saturating_sub(at)).unwrap_or(u32::MAX));
                oldest = (oldest + 1) % slots;
                inflight -= 1;
            }
            buffer.copy_within(done..held, 0);
            held -= done;
        }
    }
}

impl Subscriber {
    /// Counts what comes until everything sent has come, or until nothing has come for a while.
    async fn hear(&mut self, run: &Run, qos: u8) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut last = run.began;
        let mut forgiven = 0;
        let mut acknowledgements = Vec::new();
        loop {
            let all_sent = run.all_sent.load(Ordering::Acquire);
            let sent = run.sent.load(Ordering::Acquire);
            if all_sent && outcome.received >= sent {
                break;
            }
            let room = self.buffer.get_mut(self.held..).unwrap_or_default();
            // Short, to look again whether all is sent.
            let Ok(read) = timeout(Duration::from_millis(100), self.stream.read(room)).await else {
                if last.max(run.began).elapsed() > SILENCE {
                    if all_sent {
                        break;
                    }
                    // What is lost must not hold the window for ever.
                    let lost = sent.saturating_sub(outcome.received + forgiven);
                    forgiven += lost;
                    run.credit.add_permits(lost as usize);
                    last = Instant::now();
                }
                continue;
            };
            let read = read.context("the subscriber's connection")?;
            ensure!(read > 0, "the broker closed the subscriber's connection");
            self.held += read;
            last = Instant::now();
            let before = outcome.received;
            self.scan(run, qos, &mut outcome, &mut acknowledgements)?;
            run.credit.add_permits((outcome.received - before) as usize);
            if !acknowledgements.is_empty() {
                self.stream.write_all(&acknowledgements).await.context("the subscriber's connection")?;
                acknowledgements.clear();
            }
        }
        outcome.elapsed = last.duration_since(run.began);
        Ok(outcome)
    }

    /// Takes the whole packets out of the buffer.
    fn scan(&mut self, run: &Run, qos: u8, outcome: &mut Outcome, acknowledgements: &mut Vec<u8>) -> Result<()> {
        let now = run.microseconds();
        let mut done = 0;
        while let Some((first, body, length)) = wire::packet(self.buffer.get(done..self.held).unwrap_or_default()) {
            done += length;
            ensure!(first >> 4 == wire::PUBLISH, "the subscriber was sent a packet {first:02x}");
            let (id, payload) = wire::publish_parts(first, body).context("a PUBLISH was malformed")?;
            ensure!(payload.len() == payload::BYTES, "a payload arrived with {} bytes", payload.len());
            if id > 0 {
                wire::puback(acknowledgements, id);
            }
            outcome.received += 1;
            if qos == 0
                && outcome.received.is_multiple_of(SAMPLE_EVERY)
                && let Some(stamp) = payload::stamped(payload)
            {
                outcome.latencies.push(u32::try_from(now.saturating_sub(stamp)).unwrap_or(u32::MAX));
            }
        }
        self.buffer.copy_within(done..self.held, 0);
        self.held -= done;
        Ok(())
    }
}

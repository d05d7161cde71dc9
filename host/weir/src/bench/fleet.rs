//! The load: clients that publish as fast as their windows allow, and the subscribers that hear them.
//!
//! Nothing is sent that could not be heard: at QoS 1 and 2 each publisher has a window of unacknowledged messages, and at
//! any QoS all publishers together have a window of messages that the subscribers have not received yet. So no broker is
//! measured while it drops.

mod publisher;
mod subscriber;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::wire::Login;
use publisher::Publisher;
use subscriber::Subscriber;

/// Deliveries of all publishers' messages together that may be outstanding, where a message goes to one subscriber.
pub(super) const WINDOW: usize = 10_000;
/// Messages that may be outstanding where each goes to many subscribers.
pub(super) const FAN_OUT_WINDOW: usize = 100;
/// Messages that a publisher writes at once at QoS 0, where each goes to one subscriber.
const QOS0_BATCH: usize = 50;
/// How long nothing may arrive before what is outstanding counts as lost.
const SILENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether everything has arrived.
const LOOK: Duration = Duration::from_millis(5);
/// Clients that connect at one time.
const CONNECTING: usize = 32;
/// How long subscribers may take to write their last acknowledgements.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Who is to connect, and for what.
#[derive(Debug)]
pub(super) struct Parties {
    /// With the topic that each publishes to.
    pub(super) publishers: Vec<(Login, String)>,
    /// With the filter that each subscribes to.
    pub(super) subscribers: Vec<(Login, String)>,
    /// Subscribers that get each message.
    pub(super) fan: usize,
    pub(super) qos: u8,
    /// Unacknowledged messages of one publisher at QoS 1 and 2.
    pub(super) window: usize,
    /// What is timed: until the publisher's acknowledgement, or until the delivery. At QoS 0 always the latter.
    pub(super) timed: Timed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timed {
    Acknowledgement,
    Delivery,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Each counts once, however many subscribers it goes to.
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
    /// Deliveries that should have been, and were.
    pub(super) expected: u64,
    pub(super) received: u64,
    /// From the first publish to the last delivery.
    pub(super) elapsed: Duration,
    /// Microseconds.
    pub(super) latencies: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Fleet {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    fan: usize,
}

/// What the tasks of one run share.
#[derive(Debug)]
struct Run {
    began: Instant,
    ends: Instant,
    fan: usize,
    /// Messages not yet claimed by a publisher.
    left: AtomicU64,
    sent: AtomicU64,
    all_sent: AtomicBool,
    received: AtomicU64,
    /// Microseconds since the beginning.
    last_received: AtomicU64,
    /// Deliveries that may be outstanding still.
    credit: Semaphore,
}

impl Fleet {
    /// Connects everyone, subscribers first.
    pub(super) async fn connect(address: &str, parties: Parties) -> Result<Self> {
        let Parties { publishers, subscribers, fan, qos, window, timed } = parties;
        let sampled = qos == 0 || timed == Timed::Delivery;
        let subscribers =
            stream::iter(subscribers.into_iter().enumerate()).map(|(number, (login, filter))| async move {
                let subscribed = Subscriber::connect(address, &login, &filter, qos, sampled).await;
                subscribed.with_context(|| format!("subscriber {number}"))
            });
        let subscribers = subscribers.buffered(CONNECTING).try_collect().await?;
        let slots = if qos == 0 { (QOS0_BATCH / fan.max(1)).max(1) } else { window };
        let publishers = stream::iter(publishers.into_iter().enumerate()).map(|(number, (login, topic))| async move {
            let connected = Publisher::connect(address, &login, &topic, number, qos, slots, !sampled).await;
            connected.with_context(|| format!("publisher {number}"))
        });
        let publishers = publishers.buffered(CONNECTING).try_collect().await?;
        Ok(Self { publishers, subscribers, fan })
    }

    /// Sends a load and waits until it is received, or until nothing comes any more.
    pub(super) async fn send(&mut self, load: Load) -> Result<Outcome> {
        let run = Arc::new(Run::new(load, self.fan));
        let over = CancellationToken::new();
        let mut publishing = JoinSet::new();
        for mut publisher in self.publishers.drain(..) {
            let run = Arc::clone(&run);
            publishing.spawn(async move {
                let part = publisher.publish(&run).await;
                part.map(|part| (publisher, part))
            });
        }
        let mut hearing = JoinSet::new();
        for mut subscriber in self.subscribers.drain(..) {
            let (run, over) = (Arc::clone(&run), over.clone());
            hearing.spawn(async move {
                let latencies = subscriber.hear(&run, &over).await;
                latencies.map(|latencies| (subscriber, latencies))
            });
        }
        let mut outcome = Outcome::default();
        let mut look = interval(LOOK);
        let mut silence = Silence::new();
        loop {
            tokio::select! {
                // A client that ends by itself before the run is over has failed.
                Some(ended) = hearing.join_next() => {
                    ended.context("a subscriber panicked")??;
                }
                Some(ended) = publishing.join_next() => {
                    let (publisher, part) = ended.context("a publisher panicked")??;
                    self.publishers.push(publisher);
                    outcome.hot += part.hot;
                    outcome.latencies.extend(part.latencies);
                    if publishing.is_empty() {
                        run.all_sent.store(true, Ordering::Release);
                    }
                }
                _ = look.tick() => {
                    if run.is_complete() || silence.is_over(&run) {
                        break;
                    }
                }
            }
        }
        over.cancel();
        while let Some(ended) = timeout(LAST_WORDS, hearing.join_next()).await.context("a subscriber hangs")? {
            let (subscriber, latencies) = ended.context("a subscriber panicked")??;
            self.subscribers.push(subscriber);
            outcome.latencies.extend(latencies);
        }
        outcome.sent = run.sent.load(Ordering::Acquire);
        outcome.expected = outcome.sent * self.fan as u64;
        outcome.received = run.received.load(Ordering::Acquire);
        outcome.elapsed = Duration::from_micros(run.last_received.load(Ordering::Acquire));
        Ok(outcome)
    }
}

impl Run {
    fn new(load: Load, fan: usize) -> Self {
        let began = Instant::now();
        Self {
            began,
            ends: began + load.at_most,
            fan,
            left: AtomicU64::new(load.messages),
            sent: AtomicU64::new(0),
            all_sent: AtomicBool::new(false),
            received: AtomicU64::new(0),
            last_received: AtomicU64::new(0),
            credit: Semaphore::new(if fan == 1 { WINDOW } else { FAN_OUT_WINDOW * fan }),
        }
    }

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

    /// Takes up to `count` messages for which there is room with the subscribers. Waits for room if `patient`.
    async fn claim_heard(&self, count: usize, patient: bool) -> Result<usize> {
        let room = self.credit.available_permits() / self.fan;
        let wanted = if patient { room.clamp(1, count.max(1)) } else { room.min(count) };
        if wanted == 0 {
            return Ok(0);
        }
        let permits = u32::try_from(wanted * self.fan).context("too many deliveries at once")?;
        let permit = if patient {
            self.credit.acquire_many(permits).await.context("the window closed")?
        } else {
            // Another publisher may have been faster.
            let Ok(permit) = self.credit.try_acquire_many(permits) else { return Ok(0) };
            permit
        };
        permit.forget();
        let claimed = self.claim(wanted);
        self.credit.add_permits((wanted - claimed) * self.fan);
        Ok(claimed)
    }

    fn heard(&self, count: u64) {
        self.last_received.fetch_max(self.microseconds(), Ordering::AcqRel);
        self.received.fetch_add(count, Ordering::AcqRel);
        self.credit.add_permits(count as usize);
    }

    fn outstanding(&self) -> u64 {
        let sent = self.sent.load(Ordering::Acquire) * self.fan as u64;
        sent.saturating_sub(self.received.load(Ordering::Acquire))
    }

    fn is_complete(&self) -> bool {
        self.all_sent.load(Ordering::Acquire) && self.outstanding() == 0
    }

    fn microseconds(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }
}

/// Notices that nothing comes any more.
#[derive(Debug)]
struct Silence {
    since: Instant,
    received: u64,
    /// Deliveries that will never come, whose room was given to others.
    forgiven: u64,
}

impl Silence {
    fn new() -> Self {
        Self { since: Instant::now(), received: 0, forgiven: 0 }
    }

    /// Whether it has lasted too long after everything was sent. Before that, what is lost must not hold the window for
    /// ever.
    fn is_over(&mut self, run: &Run) -> bool {
        let received = run.received.load(Ordering::Acquire);
        if received != self.received {
            (self.received, self.since) = (received, Instant::now());
        }
        if self.since.elapsed() < SILENCE {
            return false;
        }
        if run.all_sent.load(Ordering::Acquire) {
            return true;
        }
        let lost = run.outstanding().saturating_sub(self.forgiven);
        self.forgiven += lost;
        run.credit.add_permits(lost as usize);
        self.since = Instant::now();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(messages: u64, fan: usize) -> Run {
        Run::new(Load { messages, at_most: Duration::from_secs(3_600) }, fan)
    }

    #[tokio::test]
    async fn no_more_is_claimed_than_can_be_heard() {
        let run = run(1_000, 1_000);
        assert_eq!(run.claim_heard(70, false).await.unwrap(), 70);
        assert_eq!(run.claim_heard(70, false).await.unwrap(), FAN_OUT_WINDOW - 70);
        assert_eq!(run.claim_heard(70, false).await.unwrap(), 0);
        run.heard(1_999);
        assert_eq!(run.claim_heard(70, true).await.unwrap(), 1);
        assert_eq!(run.outstanding(), 101 * 1_000 - 1_999);
    }

    #[tokio::test]
    async fn what_is_not_there_to_be_sent_takes_no_room() {
        let run = run(3, 2);
        assert_eq!(run.claim_heard(10, true).await.unwrap(), 3);
        assert_eq!(run.credit.available_permits(), FAN_OUT_WINDOW * 2 - 6);
        run.all_sent.store(true, Ordering::Release);
        assert!(!run.is_complete());
        run.heard(6);
        assert!(run.is_complete());
    }
}

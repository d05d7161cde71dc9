//! Online and offline, told on `$state/report/PRODUCT/DEVICE` (vendor protocol §5.5), where rules can read it.
//!
//! Sessions open and end where nothing may wait, so they put their news into a bounded channel and one task appends it
//! to the log. The news of a device that is taken over comes before that of its successor.

use tokio::sync::mpsc;
use weir_core::{DeviceId, Envelope, Protocol, Qos, Timestamp};
use weir_log::{Clock, Log, Record};

use crate::{Drain, Metrics, activation::Activations};

/// News that may wait to be appended. Beyond it news is dropped and counted.
const WAITING: usize = 65_536;

/// Why a device came or went, in the vendor's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Connected,
    /// It ended the connection, or the network did.
    Disconnected,
    /// The hub ended it.
    Ended,
    /// The same device connected again.
    TakenOver,
    KeepAlive,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "REASON_DEVICE_CONNECT",
            Self::Disconnected => "REASON_DEVICE_DISCONNECT",
            Self::Ended => "REASON_STATE_KICKED",
            Self::TakenOver => "REASON_DEVICE_KICKED",
            Self::KeepAlive => "REASON_KEEPALIVE_TIMEOUT",
        }
    }
}

#[derive(Debug)]
pub(crate) struct News {
    device: DeviceId,
    reason: Reason,
    at: Timestamp,
}

/// Where sessions tell their news.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    news: mpsc::Sender<News>,
    activations: Activations,
    clock: Clock,
    metrics: Metrics,
}

/// Appends the news.
#[derive(Debug)]
pub(crate) struct Reporter {
    news: mpsc::Receiver<News>,
    log: Log,
}

pub(crate) fn presence(log: Log, clock: Clock, metrics: Metrics, activations: Activations) -> (Presence, Reporter) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Presence { news: sender, activations, clock, metrics }, Reporter { news: receiver, log })
}

impl Presence {
    pub(crate) fn tell(&self, device: &DeviceId, reason: Reason) {
        if reason == Reason::Connected {
            self.activations.tell(device);
        }
        let news = News { device: device.clone(), reason, at: self.clock.now() };
        if self.news.try_send(news).is_err() {
            self.metrics.refused_for("presence", "too_much_news");
        }
    }
}

impl Presence {
    /// A device was here without a session.
    pub(crate) fn visited(&self, device: &DeviceId) {
        self.activations.tell(device);
    }
}

impl Reporter {
    /// Runs until it is told to end; what was told before is appended first.
    pub(crate) async fn run(mut self, drain: Drain) {
        loop {
            tokio::select! {
                biased;
                news = self.news.recv() => match news {
                    Some(news) => self.append(&news).await,
                    None => return,
                },
                () = drain.token().cancelled() => return,
            }
        }
    }

    async fn append(&self, News { device, reason, at }: &News) {
        let topic = format!("$state/report/{device}");
        let event = if *reason == Reason::Connected { "EV_ONLINE" } else { "EV_OFFLINE" };
        let payload = serde_json::json!({
            "deviceName": device.device,
            "event": event,
            "productID": device.product,
            "reason": reason.as_str(),
            "timestamp": at.seconds(),
            "topic": topic,
        });
        let payload = payload.to_string();
        let message = Envelope::new(&topic, "hub", Protocol::Hub, Qos::AtLeastOnce, payload.as_bytes());
        if let Err(error) = self.log.append_reserved(&[Record::Message(message)]).await {
            tracing::error!(%device, %error, "a device's coming or going could not be told");
        }
    }
}

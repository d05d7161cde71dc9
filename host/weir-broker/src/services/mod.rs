//! Services that devices talk to: the time, the answers to calls, and broadcasts.
//!
//! The first two keep nothing. They read the log from the start of the process on. Whoever was not answered before the hub ended asks again.

mod broadcast;
mod call;
mod time;

use std::sync::Arc;

use weir_core::{Envelope, Protocol, Qos};
use weir_log::{Clock, Frame, Log, ReadError, Reader, Record};

pub use self::broadcast::BroadcastError;
pub(crate) use self::broadcast::Broadcaster;
pub(crate) use self::call::Calls;
pub use self::call::{CallAnswer, CallError};
use crate::{Drain, metrics::Metrics};

pub(crate) struct Services {
    log: Log,
    clock: Clock,
    metrics: Metrics,
    reader: Reader,
    calls: Arc<Calls>,
}

impl Services {
    pub(crate) fn new(log: &Log, clock: &Clock, metrics: &Metrics, calls: &Arc<Calls>) -> Self {
        Self {
            reader: log.reader(log.appended()),
            log: log.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            calls: Arc::clone(calls),
        }
    }

    /// Runs until it is told to end.
    pub(crate) async fn run(mut self, drain: Drain) {
        loop {
            tokio::select! {
                biased;
                () = drain.token().cancelled() => return,
                frame = self.reader.next_durable() => match frame {
                    Ok(frame) => self.serve(&frame).await,
                    // What is gone was asked long ago.
                    Err(ReadError::Overtaken { .. }) => {}
                    Err(ReadError::Stopped) => return,
                    Err(error) => {
                        tracing::error!(%error, "the services of devices cannot read the log");
                        return;
                    }
                },
            }
        }
    }

    async fn serve(&self, frame: &Arc<Frame>) {
        let records = &frame.records;
        let mut answers: Vec<(String, Vec<u8>, Qos)> = Vec::new();
        for row in 0..records.len() {
            let topic = records.topic.value(row);
            if !topic.starts_with('$') || !records.is_message(row) {
                continue;
            }
            if let Some(rest) = topic.strip_prefix("$rrpc/txd/") {
                self.calls.answered(rest, records.payload.value(row));
            } else if let Some(device) = topic.strip_prefix("$sys/operation/") {
                let answer = time::answer(records.payload.value(row), records.accepted_at(row), self.clock.now());
                let is_device = device.parse::<weir_core::DeviceId>().is_ok();
                if let Some(answer) = answer.filter(|_| is_device) {
                    let qos = records.qos(row).min(Qos::AtLeastOnce);
                    answers.push((format!("$sys/operation/result/{device}"), answer, qos));
                }
            }
        }
        self.append(&answers).await;
    }

    async fn append(&self, answers: &[(String, Vec<u8>, Qos)]) {
        if answers.is_empty() {
            return;
        }
        let messages: Vec<Record<'_>> = answers
            .iter()
            .map(|(topic, payload, qos)| Record::Message(Envelope::new(topic, "hub", Protocol::Hub, *qos, payload)))
            .collect();
        match self.log.append_reserved(&messages).await {
            Ok(_) => {
                answers.iter().for_each(|(_, payload, qos)| self.metrics.accepted(Protocol::Hub, *qos, payload.len()));
            }
            Err(error) => {
                tracing::warn!(%error, answers = answers.len(), "devices were not told the time");
                self.metrics.refused_for("time_answer", "log_full");
            }
        }
    }
}

//! What the hub says about shadows, on its way into the log.

use weir_core::{Envelope, Offset, Protocol, Qos};
use weir_log::{AppendError, Log, Record};

use crate::metrics::Metrics;

/// Messages, and bytes of them, in one append.
const AT_ONCE: usize = 512;
const BYTES_AT_ONCE: usize = 512 << 10;

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: Qos,
    /// That of the request: what a rule asks for and hears of must not go round for ever.
    pub(super) hop: u8,
}

/// Gathered while a frame is applied.
#[derive(Debug, Default)]
pub(super) struct Replies {
    waiting: Vec<Reply>,
    last: Option<Offset>,
}

impl Replies {
    pub(super) fn push(&mut self, reply: Reply) {
        self.waiting.push(reply);
    }

    /// The offset of the last one that was appended.
    pub(super) fn last(&self) -> Option<Offset> {
        self.last
    }

    /// Appends what was gathered, from the hub's reserved share. Where even that is used up they are left out and
    /// counted: waiting would hold the log's oldest part, whose end would make room.
    pub(super) async fn append(&mut self, log: &Log, metrics: &Metrics) {
        let replies = std::mem::take(&mut self.waiting);
        let mut rest = replies.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(how_many(rest));
            rest = later;
            match self.append_some(now, log).await {
                Ok(()) => now.iter().for_each(|reply| metrics.accepted(Protocol::Hub, reply.qos, reply.payload.len())),
                Err(error) => {
                    tracing::warn!(%error, replies = now.len(), "answers of shadows were left out");
                    now.iter().for_each(|_| metrics.refused_for("shadow_answer", "log_full"));
                }
            }
        }
    }

    async fn append_some(&mut self, replies: &[Reply], log: &Log) -> Result<(), AppendError> {
        let records: Vec<Record<'_>> = replies
            .iter()
            .map(|reply| {
                let envelope = Envelope::new(&reply.topic, "hub", Protocol::Hub, reply.qos, &reply.payload);
                Record::Message(Envelope { hop: reply.hop, ..envelope })
            })
            .collect();
        let first = log.append_reserved(&records).await?;
        self.last = Some(first.plus(records.len().saturating_sub(1) as u64));
        Ok(())
    }
}

/// At least one.
fn how_many(replies: &[Reply]) -> usize {
    let mut bytes = 0;
    let fits = |reply: &&Reply| {
        bytes += reply.topic.len() + reply.payload.len();
        bytes <= BYTES_AT_ONCE
    };
    replies.iter().take(AT_ONCE).take_while(fits).count().max(1)
}

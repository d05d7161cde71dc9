//! Following what becomes of messages, for who asks why a rule did not fire: what was refused at the door, what each rule
//! found in what was accepted, and what became of the rows at their targets.
//!
//! It costs those alone who trace: without a trace nothing is told, and conditions are looked at one by one on the
//! tracer's own task, apart from the rules at work.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::broadcast::{self, error::RecvError};
use weir_core::{
    Offset, RuleName, TopicFilter,
    seams::{Findings, Probe},
};
use weir_log::{Frame, ReadError};

use crate::{Broker, Tail, rules::LiveRule};

/// What is told to tracers that do not keep up; beyond it they are told how much they missed.
const EVENTS: usize = 1_024;

/// Rules that are looked at for one message.
const RULES: usize = 100;

/// Where the door and the actions tell what happened.
#[derive(Debug, Clone)]
pub(crate) struct Happenings(broadcast::Sender<Happening>);

#[derive(Debug, Clone)]
pub enum Happening {
    /// A message was not accepted.
    Refused(Refused),
    /// Something became of a row.
    Settled(Settled),
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Refused {
    pub topic: String,
    pub publisher: String,
    pub reason: String,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Settled {
    pub rule: RuleName,
    pub action: u32,
    pub target: String,
    /// Of the message that the row is of.
    pub offset: Offset,
    pub topic: String,
    pub row: u32,
    pub became: Became,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    Delivered,
    /// Refused by the target, and tried again soon.
    Retried,
    /// Taken by the rule's error target.
    SentToErrorTarget,
    DeadLettered,
    /// The target is unavailable, and the action pauses.
    Waiting,
}

/// A rule that is for a message.
#[derive(Debug, Clone)]
pub struct Judged {
    pub rule: RuleName,
    pub enabled: bool,
    /// What it found, or why it cannot be taken apart.
    pub findings: Result<Findings, String>,
}

/// What a tracer is told.
#[derive(Debug)]
pub enum Step {
    /// A message was accepted; the rules that are for it, at most so many as are looked at.
    Message {
        frame: Arc<Frame>,
        row: usize,
        rules: Vec<Judged>,
    },
    Happened(Happening),
    /// So many happenings were not told, because the tracer did not keep up.
    Missed(u64),
}

/// A tracer's place.
pub struct Trace {
    broker: Broker,
    tail: Tail,
    filter: TopicFilter,
    rule: Option<RuleName>,
    happenings: broadcast::Receiver<Happening>,
    /// What was read of the log and not told yet.
    pending: Option<(Arc<Frame>, std::vec::IntoIter<u32>)>,
    /// Rules taken apart, by name and version.
    probes: HashMap<(RuleName, u32), Result<Arc<dyn Probe>, String>>,
}

impl Happenings {
    /// Tells tracers, if there are any.
    pub(crate) fn tell(&self, happening: impl FnOnce() -> Happening) {
        if self.0.receiver_count() > 0 {
            // That the last one leaves meanwhile is no matter.
            let _told = self.0.send(happening());
        }
    }
}

impl Default for Happenings {
    fn default() -> Self {
        Self(broadcast::Sender::new(EVENTS))
    }
}

impl Trace {
    pub(crate) fn new(broker: Broker, tail: Tail, filter: TopicFilter, rule: Option<RuleName>) -> Self {
        let happenings = broker.happenings().0.subscribe();
        Self { broker, tail, filter, rule, happenings, pending: None, probes: HashMap::new() }
    }

    /// Resolves when there is something to tell.
    pub async fn next(&mut self) -> Result<Step, ReadError> {
        loop {
            if let Some((frame, rows)) = &mut self.pending {
                let frame = Arc::clone(frame);
                if let Some(row) = rows.next() {
                    let row = row as usize;
                    let rules = self.judge(&frame, row).await;
                    return Ok(Step::Message { frame, row, rules });
                }
                self.pending = None;
            }
            tokio::select! {
                read = self.tail.next() => {
                    let (frame, rows) = read?;
                    self.pending = Some((frame, rows.into_iter()));
                }
                told = self.happenings.recv() => match told {
                    Ok(happening) if self.is_wanted(&happening) => return Ok(Step::Happened(happening)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => return Ok(Step::Missed(missed)),
                    // The broker keeps the sender, and the tracer the broker.
                    Err(RecvError::Closed) => std::future::pending::<()>().await,
                },
            }
        }
    }

    fn is_wanted(&self, happening: &Happening) -> bool {
        match happening {
            Happening::Refused(refused) => self.filter.matches(&refused.topic),
            Happening::Settled(settled) => {
                self.filter.matches(&settled.topic) && self.rule.as_ref().is_none_or(|rule| *rule == settled.rule)
            }
        }
    }

    /// The rules that read a message's topic, and what each finds.
    async fn judge(&mut self, frame: &Frame, row: usize) -> Vec<Judged> {
        let topic = frame.records.topic.value(row);
        let wanted = |rule: &&Arc<LiveRule>| {
            let definition = &rule.definition;
            self.rule.as_ref().is_none_or(|name| *name == definition.name)
                && definition.sources.iter().any(|source| source.matches(topic))
        };
        let rules: Vec<Arc<LiveRule>> = self.broker.rules().live().iter().filter(wanted).take(RULES).cloned().collect();
        let mut judged = Vec::new();
        for rule in rules {
            let findings = self.probe(&rule).await.map(|probe| probe.look(&frame.records, row));
            judged.push(Judged { rule: rule.definition.name.clone(), enabled: rule.enabled, findings });
        }
        judged
    }

    async fn probe(&mut self, rule: &LiveRule) -> Result<Arc<dyn Probe>, String> {
        let name = &rule.definition.name;
        if let Some(known) = self.probes.get(&(name.clone(), rule.version)) {
            return known.clone();
        }
        let probe = self.broker.rules().probe(&rule.definition).await.map_err(|error| error.to_string());
        self.probes.retain(|(known, _), _| known != name);
        self.probes.insert((name.clone(), rule.version), probe.clone());
        probe
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("filter", &self.filter).field("rule", &self.rule).finish_non_exhaustive()
    }
}

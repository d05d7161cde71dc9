//! Rules at work: from durable frames to settled effects.
//!
//! [`head`] evaluates, [`worker`] delivers, [`account`] keeps the books, [`table`] holds the rules in force; [`apply`]
//! checks and stores changes, and [`install`] puts them in force; [`backfill`] sends what a rule makes of the past.

mod account;
mod action;
mod apply;
mod backfill;
mod head;
mod install;
mod publisher;
mod rows;
mod table;
mod tick;
mod windows;
mod worker;

use std::{sync::Arc, time::Duration};

use weir_core::{
    Classify, ErrorKind, IndexName, RuleName, SinkName, Timestamp,
    plugin::Plugins,
    seams::{Language, Outcome, Probe, SettingValue, SqlError, TargetKind},
    statement::{RuleDefinition, Setting, Statement},
    windows::WindowLimits,
};
use weir_log::Clock;
use weir_store::{DeadLetterKind, SinkRow, Store, StoreError};

use self::action::Action;
pub(crate) use self::{
    action::Shared,
    head::{Floors, Head},
    install::stored_sources,
    publisher::LogPublisher,
    table::{LiveRule, Table},
    tick::Ticker,
};
pub use self::{
    apply::{Applied, Change},
    backfill::{Backfill, BackfillCounts, BackfillError, BackfillProgress, Backfilled},
    windows::WindowStatus,
};
use crate::{Drain, trace::Happenings};

/// How rules and their actions behave.
#[derive(Debug, Clone)]
pub struct RuleOptions {
    /// Age at which a row that its target never took goes to the dead letters.
    pub max_lag: Duration,
    /// How often positions and counters are stored.
    pub checkpoint: Duration,
    /// Longest wait before an unavailable target is tried again, whatever it asks for.
    pub longest_pause: Duration,
    /// Dead letters in memory before they are stored out of turn.
    pub dead_letter_batch: usize,
    /// Rules that may exist.
    pub rules: usize,
    /// How often the state of windows is stored.
    pub window_checkpoint: Duration,
    /// What the windows of one rule may hold.
    pub windows: WindowLimits,
}

impl Default for RuleOptions {
    fn default() -> Self {
        Self {
            max_lag: Duration::from_secs(24 * 3_600),
            checkpoint: Duration::from_millis(200),
            longest_pause: Duration::from_secs(30),
            dead_letter_batch: 1_000,
            rules: 10_000,
            window_checkpoint: Duration::from_secs(5),
            windows: WindowLimits::default(),
        }
    }
}

/// Why a script changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error("rule {rule}: {error}")]
    Rule { rule: RuleName, error: SqlError },
    #[error("{0}")]
    Invalid(String),
    #[error("there is no rule {0}")]
    NoRule(RuleName),
    #[error("there is no sink {0}")]
    NoSink(SinkName),
    #[error("there is no index {0}")]
    NoIndex(IndexName),
    #[error("sink {sink} is used by rule {rule}; drop or change the rule first")]
    SinkInUse { sink: SinkName, rule: RuleName },
    #[error(transparent)]
    Denied(#[from] weir_core::Denied),
    #[error("there may be at most {limit} rules")]
    TooMany { limit: usize },
    #[error("the change cannot be stored")]
    Store(#[source] StoreError),
}

impl ApplyError {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }
}

impl Classify for ApplyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Sql(_) | Self::Rule { .. } | Self::Invalid(_) => ErrorKind::Invalid,
            Self::NoRule(_) | Self::NoSink(_) | Self::NoIndex(_) => ErrorKind::NotFound,
            Self::SinkInUse { .. } => ErrorKind::Conflict,
            Self::Denied(_) => ErrorKind::Forbidden,
            Self::TooMany { .. } => ErrorKind::Throttled,
            Self::Store(error) => error.kind(),
        }
    }
}

/// Why dead letters could not be sent again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("there is no dead letter {0}")]
    NotFound(i64),
    #[error("dead letter {id} stands for a range of messages that the log no longer holds; delete it")]
    Range { id: i64 },
    #[error("dead letter {id} belongs to action {action} of rule {rule}, which is gone or disabled")]
    NoAction { id: i64, rule: RuleName, action: u32 },
    #[error("dead letter {id} was not delivered: {reason}")]
    Undelivered { id: i64, reason: String },
    #[error("dead letters cannot be read")]
    Store(#[source] StoreError),
}

impl Classify for ReplayError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Range { .. } | Self::NoAction { .. } => ErrorKind::Conflict,
            Self::Undelivered { .. } => ErrorKind::Unavailable,
            Self::Store(error) => error.kind(),
        }
    }
}

/// What an operator sees of a rule.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RuleStatus {
    pub name: RuleName,
    pub version: u32,
    pub enabled: bool,
    pub owner: String,
    pub sources: Vec<String>,
    pub text: String,
    /// The same messages make the same rows whenever it runs. Not so where it joins tables, which are as they are then.
    pub reproducible: bool,
    pub actions: Vec<ActionStatus>,
    /// If it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<WindowStatus>,
}

/// What an operator sees of one action: `read = matched + unmatched + failed` messages, and
/// `produced = delivered + dead_lettered + expired + pending` rows.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ActionStatus {
    /// Its place in the rule; the error target is 1000, that for late messages 1001.
    pub action: u32,
    pub target: String,
    pub state: ActionState,
    /// Why it waits, if it does.
    pub reason: Option<String>,
    pub read: u64,
    pub matched: u64,
    pub unmatched: u64,
    pub failed: u64,
    pub produced: u64,
    pub delivered: u64,
    pub dead_lettered: u64,
    pub expired: u64,
    pub pending: u64,
    /// Age of the oldest message that is not settled, in milliseconds.
    pub lag_ms: u64,
    /// One past the last record up to which everything is settled.
    pub position: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    Running,
    /// Its target is unavailable.
    Paused,
    /// It lags and reads the log by itself.
    CatchingUp,
}

/// The handle to the rules. Cloning shares it.
#[derive(Clone)]
pub struct RuleRuntime {
    shared: Arc<Shared>,
    store: Store,
    language: Arc<dyn Language>,
    kinds: Arc<[Arc<dyn TargetKind>]>,
    plugins: Arc<dyn Plugins>,
    /// Serialises changes, so that each begins from what the last one made.
    changing: Arc<tokio::sync::Mutex<()>>,
    drain: Drain,
    policy: crate::policy::PolicyInForce,
}

impl std::fmt::Debug for RuleRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleRuntime").finish_non_exhaustive()
    }
}

impl RuleRuntime {
    pub fn status(&self, rule: &RuleName) -> Option<RuleStatus> {
        self.shared.table.load().rules.get(rule).map(|rule| self.describe(rule))
    }

    pub fn statuses(&self) -> Vec<RuleStatus> {
        self.shared.table.load().rules.values().map(|rule| self.describe(rule)).collect()
    }

    /// A rule as it is in force, or was when it was disabled.
    pub fn definition_of(&self, rule: &RuleName) -> Option<RuleDefinition> {
        self.shared.table.load().rules.get(rule).map(|rule| rule.definition.clone())
    }

    /// The rules that a script would make. Nothing is changed.
    pub fn read(&self, script: &str) -> Result<Vec<RuleDefinition>, ApplyError> {
        let statements = self.language.parse(script)?.into_iter();
        let rules = statements.filter_map(|statement| match statement {
            Statement::CreateRule(rule) => Some(rule),
            _ => None,
        });
        Ok(rules.collect())
    }

    /// All rules, disabled ones too.
    pub(crate) fn live(&self) -> Vec<Arc<LiveRule>> {
        self.shared.table.load().rules.values().cloned().collect()
    }

    /// A rule taken apart, for a trace.
    pub(crate) async fn probe(&self, rule: &RuleDefinition) -> Result<Arc<dyn Probe>, ApplyError> {
        Ok(self.language.probe(rule, &self.catalog().await?)?)
    }

    pub(crate) fn happenings(&self) -> &Happenings {
        &self.shared.happenings
    }

    fn describe(&self, rule: &LiveRule) -> RuleStatus {
        RuleStatus {
            name: rule.definition.name.clone(),
            version: rule.version,
            enabled: rule.enabled,
            owner: rule.owner.to_string(),
            sources: rule.definition.sources.iter().map(ToString::to_string).collect(),
            text: self.masked(&rule.definition),
            reproducible: rule.definition.tables.is_empty(),
            actions: rule.actions.iter().map(|action| status_of(action, &self.shared.clock)).collect(),
            windows: rule.windows.as_ref().filter(|_| rule.enabled).map(|windows| windows.status(&self.shared)),
        }
    }

    /// The text of a rule as it may be shown: secrets that stand in it in the clear are not.
    fn masked(&self, rule: &RuleDefinition) -> String {
        rule.actions
            .iter()
            .chain(&rule.on_error)
            .chain(&rule.on_late)
            .fold(rule.text.clone(), |text, action| self.mask(text, &action.target, &action.settings))
    }

    /// The text of a stored sink as it may be shown.
    pub fn masked_sink(&self, sink: &SinkRow) -> String {
        let statements = self.language.parse(&sink.text).unwrap_or_default();
        statements.iter().fold(sink.text.clone(), |text, statement| match statement {
            Statement::CreateSink(sink) => self.mask(text, &sink.kind, &sink.settings),
            _ => text,
        })
    }

    fn mask(&self, text: String, kind: &str, settings: &[(String, Setting)]) -> String {
        let plugin = || self.plugins.target_kind(&kind.strip_prefix(table::PLUGIN)?.parse().ok()?);
        let known = self.kinds.iter().find(|known| known.name() == kind).map(Arc::clone).or_else(plugin);
        let Some(kind) = known else { return text };
        let is_secret = |name: &str| kind.setting(name) == Some(SettingValue::Secret);
        settings.iter().fold(text, |text, (name, setting)| match setting {
            Setting::Literal(value) if is_secret(name) => {
                text.replace(&format!("'{}'", value.replace('\'', "''")), "'***'")
            }
            _ => text,
        })
    }

    /// Sends dead letters to their actions again, in order; each that arrives is deleted. Stops at the first that does
    /// not. Returns how many arrived.
    pub async fn replay(&self, ids: &[i64]) -> Result<u64, ReplayError> {
        let mut arrived = 0;
        for id in ids.iter().copied() {
            let letter = self.store.dead_letter(id).await.map_err(ReplayError::Store)?;
            let letter = letter.ok_or(ReplayError::NotFound(id))?;
            let DeadLetterKind::Row(row) = letter.kind else { return Err(ReplayError::Range { id }) };
            let table = self.shared.table.load_full();
            let action = table
                .rules
                .get(&letter.rule)
                .and_then(|rule| rule.actions.iter().find(|action| action.index == letter.action).map(Arc::clone));
            let Some(action) = action else {
                return Err(ReplayError::NoAction { id, rule: letter.rule, action: letter.action });
            };
            match action.target.write(std::slice::from_ref(&row)).await.pop() {
                Some(Outcome::Delivered) => {
                    self.store.delete_dead_letters(&[id]).await.map_err(ReplayError::Store)?;
                    arrived += 1;
                }
                Some(Outcome::Rejected { reason, .. } | Outcome::Unavailable { reason, .. }) => {
                    return Err(ReplayError::Undelivered { id, reason });
                }
                None => {
                    let reason = "the target did not say what became of the row".to_owned();
                    return Err(ReplayError::Undelivered { id, reason });
                }
            }
        }
        Ok(arrived)
    }
}

pub(crate) fn status_of(action: &Action, clock: &Clock) -> ActionStatus {
    let Timestamp(now) = clock.now();
    let account = action.account.lock();
    let (sums, pending) = account.sums();
    let state = match (&account.paused, account.attached) {
        (Some(_), _) => ActionState::Paused,
        (None, true) => ActionState::Running,
        (None, false) if action.joins.is_some() => ActionState::Running,
        (None, false) => ActionState::CatchingUp,
    };
    ActionStatus {
        action: action.index,
        target: action.labels.target.clone(),
        state,
        reason: account.paused.clone(),
        read: sums.read,
        matched: sums.matched,
        unmatched: sums.unmatched,
        failed: sums.failed,
        produced: sums.produced,
        delivered: sums.delivered,
        dead_lettered: sums.dead_lettered,
        expired: sums.expired,
        pending,
        lag_ms: account.oldest_accepted_at().map_or(0, |oldest| u64::try_from(now - oldest).unwrap_or(0)),
        position: account.merged_to().0,
    }
}

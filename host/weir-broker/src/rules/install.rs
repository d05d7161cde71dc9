//! Putting rules in force: exchanging the table, and handing accounts from an action to its successor.

use std::{collections::BTreeMap, sync::Arc};

use weir_core::{
    Offset, RuleName, TopicFilter,
    seams::{Evaluator, Language, RulePart},
    statement::{RuleDefinition, Statement},
    windows::OpenedWindows,
};
use weir_store::{ActionLedger, ActionProgress, Progress, RuleRow, SavedProgress, SavedWindows, Store};

use super::{
    ApplyError, RuleRuntime,
    account::Account,
    action::{Action, ERROR_ACTION, Joins, LATE_ACTION},
    apply::{owned_by, owners},
    table::{LiveRule, OpenTarget, OpenTargets, Table},
    windows::{LiveWindows, WindowWorker},
    worker::Worker,
};

impl RuleRuntime {
    /// Exchanges the table. Actions of changed rules are stopped first; their successors go on from where they were.
    pub(super) async fn put_in_force(
        &self,
        mut table: Table,
        mut opened: BTreeMap<RuleName, OpenTargets>,
        progress: &SavedProgress,
    ) {
        let old = self.shared.table.load_full();
        let mut started = Vec::new();
        let mut last = Vec::new();
        let mut last_windows = BTreeMap::new();
        for (name, rule) in &old.rules {
            let kept = table.rules.get(name).is_some_and(|rule| rule.enabled) && !opened.contains_key(name);
            if !kept {
                for action in &rule.actions {
                    stop(action).await;
                    self.shared.metrics.forget_action(&action.labels);
                    let standing = action.account.lock().merge(None);
                    last.push(ActionProgress {
                        rule: name.clone(),
                        action: action.index,
                        position: Some(standing.merged_to),
                        ledger: standing.merged,
                    });
                }
                if let Some(windows) = &rule.windows {
                    last_windows.extend(windows.stop().await.map(|saved| (name.clone(), saved)));
                }
            }
        }
        // What a disabled rule has counted must outlast it. Those of dropped rules are passed over by the store.
        let progress_of_stopped = Progress { actions: last, ..Progress::default() };
        if let Err(error) = self.store.commit_progress(progress_of_stopped).await {
            tracing::error!(%error, "the last counts of changed rules cannot be stored");
        }
        let mut workers = Vec::new();
        let evaluator = Arc::clone(&table.evaluator);
        for (name, rule) in &mut table.rules {
            let (actions, windows) = match opened.remove(name) {
                Some(targets) => {
                    let was_enabled = old.rules.get(name).is_some_and(|rule| rule.enabled);
                    let windows =
                        self.succeed_windows(evaluator.as_ref(), rule, last_windows.remove(name), was_enabled);
                    (self.succeed(rule, targets, &old, progress), windows.await)
                }
                None if rule.enabled => continue,
                None => (Vec::new(), None),
            };
            started.extend(actions.iter().cloned());
            *rule = Arc::new(LiveRule {
                definition: rule.definition.clone(),
                owner: rule.owner.clone(),
                version: rule.version,
                start: rule.start,
                enabled: rule.enabled,
                actions,
                windows: windows.as_ref().map(|worker| Arc::clone(&worker.live)),
            });
            workers.extend(windows);
        }
        self.shared.change_readers.set_rules(sources_of(&table));
        self.shared.table.store(Arc::new(table));
        started.into_iter().for_each(|action| self.start(action));
        workers.into_iter().for_each(|worker| self.start_windows(worker));
    }

    /// The windows of a new version, which go on where the old ones ended; those of a rule that was disabled from now on.
    async fn succeed_windows(
        &self,
        evaluator: &dyn Evaluator,
        rule: &LiveRule,
        last: Option<SavedWindows>,
        was_enabled: bool,
    ) -> Option<WindowWorker> {
        let name = &rule.definition.name;
        if !rule.definition.windowed {
            if let Err(error) = self.store.delete_windows(name).await {
                tracing::error!(rule = %name, %error, "windows that a rule does not have any more cannot be deleted");
            }
            return None;
        }
        let durable = self.shared.log.durable().get();
        let begin = SavedWindows { rule: name.clone(), position: rule.start, durable, state: None };
        let saved = match last {
            Some(last) => last,
            None => {
                let stored = self.store.windows().await.unwrap_or_default();
                match stored.into_iter().find(|saved| saved.rule == *name) {
                    Some(stored) if was_enabled => stored,
                    // What came meanwhile is not for it.
                    Some(stored) => SavedWindows { state: stored.state, ..begin },
                    None => begin,
                }
            }
        };
        // From here on a crash finds it, whatever the log holds of an earlier rule of this name.
        if let Err(error) = self.store.put_windows(saved.clone()).await {
            tracing::error!(rule = %name, %error, "the windows of a rule cannot be stored");
        }
        self.window_worker(evaluator, saved)
    }

    fn window_worker(&self, evaluator: &dyn Evaluator, mut saved: SavedWindows) -> Option<WindowWorker> {
        let state = saved.state.take();
        let opened = evaluator.windows(&saved.rule, state.as_deref(), self.shared.options.windows);
        let Some(OpenedWindows { windows, lost }) = opened else {
            tracing::error!(rule = %saved.rule, "the windows of a rule cannot be made; it makes no rows");
            return None;
        };
        if let Some(reason) = lost {
            tracing::warn!(rule = %saved.rule, reason, "the windows of a rule begin anew, and what was open in them is lost");
        }
        let live = Arc::new(LiveWindows::new(&saved));
        let (shared, store) = (Arc::clone(&self.shared), self.store.clone());
        Some(WindowWorker { rule: saved.rule.clone(), live, shared, store, windows, saved })
    }

    /// With the actions: what they append is read by the head, which ends later.
    fn start_windows(&self, worker: WindowWorker) {
        self.drain.spawn("windows", worker.run(self.drain.clone()));
    }

    /// Actions of a new version, each with the account of the action it replaces. Those of a rule that was disabled go
    /// on counting, from now on.
    fn succeed(
        &self,
        rule: &LiveRule,
        targets: OpenTargets,
        old: &Table,
        progress: &SavedProgress,
    ) -> Vec<Arc<Action>> {
        let name = &rule.definition.name;
        let begun = *self.shared.begun.borrow();
        let before = old.rules.get(name).map(|rule| rule.actions.as_slice()).unwrap_or_default();
        make_actions(&rule.definition, targets, |index| {
            if let Some(action) = before.iter().find(|action| action.index == index) {
                let standing = action.account.lock().merge(None);
                return Account::new(standing.merged, standing.merged_to, false);
            }
            let ledger = saved(progress, name, index).map(|saved| saved.ledger).unwrap_or_default();
            // What windows make of the past comes now; what lies in the log is of an earlier rule of this name.
            let start = if rule.definition.windowed { begun } else { rule.start };
            at(ledger, start, begun)
        })
    }

    fn start(&self, action: Arc<Action>) {
        action.list(&self.shared);
        let worker = Worker::new(action, Arc::clone(&self.shared), self.drain.token().clone());
        self.drain.spawn("action", worker.run());
    }

    /// Puts the stored rules in force, with their stored progress. A rule that can no longer be planned or opened is
    /// left disabled and reported: it must not keep the hub from starting.
    pub(crate) async fn load(&self, progress: &SavedProgress, head: Offset) -> Result<(), ApplyError> {
        let _one_at_a_time = self.changing.lock().await;
        let catalog = self.catalog().await?;
        let sinks = self.sinks().await?;
        let owners = owners(&self.store).await?;
        let mut table = Table::clone(&self.shared.table.load());
        let mut planned = Vec::new();
        for row in self.store.rules().await.map_err(ApplyError::Store)? {
            let Some(definition) = self.definition(&row) else { continue };
            let mut rule = LiveRule {
                definition,
                owner: row.owner.clone(),
                version: row.version,
                start: row.start,
                enabled: row.enabled,
                actions: Vec::new(),
                windows: None,
            };
            if rule.enabled {
                match owned_by(&owners, &row.owner)
                    .and_then(|owner| self.opener(&sinks).open_rule(&rule.definition, &owner))
                {
                    Ok(targets) => {
                        rule.actions =
                            make_actions(&rule.definition, targets, |index| restored(progress, &row, index, head));
                        planned.push(rule.definition.clone());
                    }
                    Err(error) => {
                        tracing::error!(rule = %row.name, %error, "a stored rule cannot be opened; it stays disabled");
                        rule.enabled = false;
                    }
                }
            }
            table.rules.insert(row.name.clone(), Arc::new(rule));
        }
        while !planned.is_empty() {
            match table.evaluator.with_rules(&planned, &catalog) {
                Ok(evaluator) => {
                    table.evaluator = evaluator;
                    break;
                }
                Err((name, error)) => {
                    tracing::error!(rule = %name, %error, "a stored rule cannot be planned; it stays disabled");
                    planned.retain(|rule| rule.name != name);
                    if let Some(rule) = table.rules.get_mut(&name) {
                        *rule = Arc::new(LiveRule {
                            definition: rule.definition.clone(),
                            owner: rule.owner.clone(),
                            version: rule.version,
                            start: rule.start,
                            enabled: false,
                            actions: Vec::new(),
                            windows: None,
                        });
                    }
                }
            }
        }
        let workers = self.load_windows(&mut table).await?;
        let actions: Vec<_> = table.rules.values().flat_map(|rule| rule.actions.iter().cloned()).collect();
        self.shared.change_readers.set_rules(sources_of(&table));
        self.shared.table.store(Arc::new(table));
        actions.into_iter().for_each(|action| self.start(action));
        workers.into_iter().for_each(|worker| self.start_windows(worker));
        Ok(())
    }

    /// The windows of the rules in a table, as they were stored.
    async fn load_windows(&self, table: &mut Table) -> Result<Vec<WindowWorker>, ApplyError> {
        let stored = self.store.windows().await.map_err(ApplyError::Store)?;
        let mut stored: BTreeMap<_, _> = stored.into_iter().map(|saved| (saved.rule.clone(), saved)).collect();
        let mut workers = Vec::new();
        for (name, rule) in &mut table.rules {
            if !rule.enabled || !rule.definition.windowed {
                continue;
            }
            let begin = || SavedWindows { rule: name.clone(), position: rule.start, durable: rule.start, state: None };
            let saved = stored.remove(name).unwrap_or_else(begin);
            let Some(worker) = self.window_worker(table.evaluator.as_ref(), saved) else { continue };
            *rule = Arc::new(LiveRule {
                definition: rule.definition.clone(),
                owner: rule.owner.clone(),
                version: rule.version,
                start: rule.start,
                enabled: rule.enabled,
                actions: rule.actions.clone(),
                windows: Some(Arc::clone(&worker.live)),
            });
            workers.push(worker);
        }
        Ok(workers)
    }

    fn definition(&self, row: &RuleRow) -> Option<RuleDefinition> {
        let statements = match self.language.parse(&row.text) {
            Ok(statements) => statements,
            Err(error) => {
                tracing::error!(rule = %row.name, %error, "a stored rule cannot be read; it is left out");
                return None;
            }
        };
        statements.into_iter().find_map(|statement| match statement {
            Statement::CreateRule(definition) => Some(definition),
            _ => None,
        })
    }
}

/// What the rules in force read.
fn sources_of(table: &Table) -> impl Iterator<Item = &TopicFilter> {
    table.rules.values().filter(|rule| rule.enabled).flat_map(|rule| &rule.definition.sources)
}

/// What the stored rules read that are enabled, before any is in force.
pub(crate) async fn stored_sources(store: &Store, language: &dyn Language) -> Result<Vec<TopicFilter>, ApplyError> {
    let rows = store.rules().await.map_err(ApplyError::Store)?;
    let statements = rows.iter().filter(|row| row.enabled).filter_map(|row| language.parse(&row.text).ok()).flatten();
    let sources = statements.flat_map(|statement| match statement {
        Statement::CreateRule(definition) => definition.sources,
        _ => Vec::new(),
    });
    Ok(sources.collect())
}

fn make_actions(
    definition: &RuleDefinition,
    targets: OpenTargets,
    account: impl Fn(u32) -> Account,
) -> Vec<Arc<Action>> {
    let OpenTargets { actions, on_error, on_late, .. } = targets;
    let error_target = on_error.as_ref().map(|open| Arc::clone(&open.target));
    let numbered = (0..).zip(actions).map(|(index, open)| (index, open, error_target.clone()));
    let errors = on_error.map(|open| (ERROR_ACTION, open, None));
    let late = on_late.map(|open| (LATE_ACTION, open, error_target.clone()));
    let make = |(index, open, error_target): (u32, OpenTarget, _)| {
        let rule = definition.name.clone();
        let part = match index {
            ERROR_ACTION if definition.windowed => RulePart::Failures,
            LATE_ACTION => RulePart::Late,
            _ => RulePart::Rows,
        };
        let action = Action::new(rule, (index, part), &open.name, open.target, error_target, account(index));
        Arc::new(if definition.tables.is_empty() {
            action
        } else {
            let (sources, tables) = (definition.sources.clone(), definition.tables.clone());
            action.joining(Arc::new(Joins { sources, tables }))
        })
    };
    numbered.chain(errors).chain(late).map(make).collect()
}

/// An account that begins at `start`. Ahead of the head it passes over what comes before; behind it, its action reads by
/// itself.
fn at(ledger: ActionLedger, start: Offset, head: Offset) -> Account {
    Account::new(ledger, start, start >= head)
}

/// The account of an action as the last checkpoint stored it.
fn restored(progress: &SavedProgress, row: &RuleRow, index: u32, head: Offset) -> Account {
    match saved(progress, &row.name, index) {
        Some(saved) => at(saved.ledger, saved.position.unwrap_or(head), head),
        // An action that a later version added begins with that version, not with the rule.
        None if progress.actions.iter().any(|saved| saved.rule == row.name) => at(ActionLedger::default(), head, head),
        None => at(ActionLedger::default(), row.start, head),
    }
}

fn saved<'a>(progress: &'a SavedProgress, rule: &RuleName, index: u32) -> Option<&'a ActionProgress> {
    progress.actions.iter().find(|saved| saved.rule == *rule && saved.action == index)
}

/// Ends an action's worker. What it has not settled will be done by its successor, or not at all.
async fn stop(action: &Action) {
    action.account.lock().stopped = true;
    action.stop.cancel();
    action.ended.notified().await;
}

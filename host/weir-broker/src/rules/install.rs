//! Putting rules in force: exchanging the table, and handing accounts from an action to its successor.

use std::{collections::BTreeMap, sync::Arc};

use weir_core::{
    Offset, RuleName, TopicFilter,
    seams::Language,
    statement::{RuleDefinition, Statement},
};
use weir_store::{ActionLedger, ActionProgress, Progress, RuleRow, SavedProgress, Store};

use super::{
    ApplyError, RuleRuntime,
    account::Account,
    action::{Action, ERROR_ACTION},
    apply::{owned_by, owners},
    table::{LiveRule, OpenTarget, OpenTargets, Table},
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
            }
        }
        // What a disabled rule has counted must outlast it. Those of dropped rules are passed over by the store.
        let progress_of_stopped = Progress { actions: last, ..Progress::default() };
        if let Err(error) = self.store.commit_progress(progress_of_stopped).await {
            tracing::error!(%error, "the last counts of changed rules cannot be stored");
        }
        for (name, rule) in &mut table.rules {
            let actions = match opened.remove(name) {
                Some(targets) => self.succeed(rule, targets, &old, progress),
                None if rule.enabled => continue,
                None => Vec::new(),
            };
            started.extend(actions.iter().cloned());
            *rule = Arc::new(LiveRule {
                definition: rule.definition.clone(),
                owner: rule.owner.clone(),
                version: rule.version,
                start: rule.start,
                enabled: rule.enabled,
                actions,
            });
        }
        self.shared.change_readers.set_rules(sources_of(&table));
        self.shared.table.store(Arc::new(table));
        started.into_iter().for_each(|action| self.start(action));
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
            at(ledger, rule.start, begun)
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
                        });
                    }
                }
            }
        }
        let actions: Vec<_> = table.rules.values().flat_map(|rule| rule.actions.iter().cloned()).collect();
        self.shared.change_readers.set_rules(sources_of(&table));
        self.shared.table.store(Arc::new(table));
        actions.into_iter().for_each(|action| self.start(action));
        Ok(())
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
    let OpenTargets { actions, on_error, .. } = targets;
    let error_target = on_error.as_ref().map(|open| Arc::clone(&open.target));
    let numbered = (0..).zip(actions).map(|(index, open)| (index, open, error_target.clone()));
    let errors = on_error.map(|open| (ERROR_ACTION, open, None));
    let make = |(index, open, error_target): (u32, OpenTarget, _)| {
        let rule = definition.name.clone();
        Arc::new(Action::new(rule, index, &open.name, open.target, error_target, account(index)))
    };
    numbered.chain(errors).map(make).collect()
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

//! Changing rules: everything is checked first, then stored, then put in force. The others run on meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use weir_core::{
    KeyName, Offset, Policy, Principal, RuleName, SinkName,
    seams::{Catalog, Evaluator, Language, TargetKind},
    statement::{RuleDefinition, SinkDefinition, StartFrom, Statement},
};
use weir_store::{ActionLedger, ActionProgress, NewRule, Progress, Role, RuleRow, SavedProgress, Store};

use super::{
    ApplyError, RuleRuntime,
    account::Account,
    action::{Action, ERROR_ACTION, Shared},
    table::{LiveRule, OpenTarget, OpenTargets, Opener, Table},
    worker::Worker,
};
use crate::Drain;

/// What became of one statement.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    /// `rule` or `sink`.
    pub kind: &'static str,
    pub name: String,
    pub action: Change,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Created,
    Updated,
    Unchanged,
    Deleted,
    Enabled,
    Disabled,
}

/// Rules and sinks as a script would leave them, not yet stored.
struct Draft {
    table: Table,
    sinks: BTreeMap<SinkName, SinkDefinition>,
    owners: BTreeMap<KeyName, Principal>,
    /// Rules to open anew, with what they were opened as.
    opened: BTreeMap<RuleName, OpenTargets>,
    writes: Vec<Write>,
}

/// A change for the store, in the order of the script.
enum Write {
    Rule(NewRule),
    Enabled(RuleName, bool),
    DropRule(RuleName),
    Sink(SinkDefinition),
    DropSink(SinkName),
}

impl RuleRuntime {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Store,
        language: Arc<dyn Language>,
        kinds: Vec<Arc<dyn TargetKind>>,
        policy: Policy,
        drain: Drain,
    ) -> Self {
        Self { shared, store, language, kinds: kinds.into(), changing: Arc::default(), drain, policy }
    }

    /// Runs a script. If any statement fails, none has an effect.
    pub async fn apply(&self, script: &str, owner: &Principal) -> Result<Vec<Applied>, ApplyError> {
        let statements = self.language.parse(script)?;
        self.change(statements, owner).await
    }

    /// Runs statements that are parsed already.
    pub async fn change(&self, statements: Vec<Statement>, owner: &Principal) -> Result<Vec<Applied>, ApplyError> {
        let _one_at_a_time = self.changing.lock().await;
        let catalog = self.catalog().await?;
        let mut draft = Draft {
            table: Table::clone(&self.shared.table.load()),
            sinks: self.sinks().await?,
            owners: owners(&self.store).await?,
            opened: BTreeMap::new(),
            writes: Vec::new(),
        };
        let mut applied = Vec::with_capacity(statements.len());
        for statement in statements {
            applied.push(self.draft(&mut draft, statement, owner, &catalog)?);
        }
        if draft.table.rules.len() > self.shared.options.rules {
            return Err(ApplyError::TooMany { limit: self.shared.options.rules });
        }
        let progress = self.store.progress().await.map_err(ApplyError::Store)?;
        self.write(draft.writes).await?;
        self.put_in_force(draft.table, draft.opened, &progress).await;
        Ok(applied)
    }

    fn draft(
        &self,
        draft: &mut Draft,
        statement: Statement,
        owner: &Principal,
        catalog: &Catalog,
    ) -> Result<Applied, ApplyError> {
        match statement {
            Statement::CreateRule(definition) => self.draft_rule(draft, definition, owner, catalog),
            Statement::CreateSink(sink) => self.draft_sink(draft, sink, owner),
            Statement::DropRule(name) => {
                draft.table.rules.remove(&name).ok_or_else(|| ApplyError::NoRule(name.clone()))?;
                draft.table.evaluator = draft.table.evaluator.without_rule(&name);
                draft.opened.remove(&name);
                draft.writes.push(Write::DropRule(name.clone()));
                Ok(done("rule", &name, Change::Deleted))
            }
            Statement::DropSink(name) => {
                if let Some(rule) = draft.table.rules.values().find(|rule| uses(&rule.definition, &name)) {
                    return Err(ApplyError::SinkInUse { sink: name, rule: rule.definition.name.clone() });
                }
                draft.sinks.remove(&name).ok_or_else(|| ApplyError::NoSink(name.clone()))?;
                draft.writes.push(Write::DropSink(name.clone()));
                Ok(done("sink", &name, Change::Deleted))
            }
            Statement::EnableRule(name) => self.draft_enabled(draft, name, true, catalog),
            Statement::DisableRule(name) => self.draft_enabled(draft, name, false, catalog),
        }
    }

    fn draft_rule(
        &self,
        draft: &mut Draft,
        definition: RuleDefinition,
        owner: &Principal,
        catalog: &Catalog,
    ) -> Result<Applied, ApplyError> {
        let name = definition.name.clone();
        let old = draft.table.rules.get(&name).cloned();
        if let Some(old) = old.as_ref().filter(|old| old.definition.text == definition.text) {
            return Ok(done("rule", &old.definition.name, Change::Unchanged));
        }
        for source in &definition.sources {
            self.policy.may_subscribe(owner, source)?;
        }
        let targets = self.opener(&draft.sinks).open_rule(&definition, owner)?;
        let warnings = targets.warnings.clone();
        draft.table.evaluator = plan(draft.table.evaluator.as_ref(), &definition, catalog)?;
        let (version, change) = match &old {
            Some(old) => (old.version + 1, Change::Updated),
            None => (1, Change::Created),
        };
        let start = match definition.start {
            StartFrom::Now => self.shared.log.appended(),
            StartFrom::Beginning => self.shared.log.oldest(),
        };
        let row = NewRule {
            name: name.clone(),
            text: definition.text.clone(),
            owner: owner_name(owner)?.clone(),
            enabled: true,
            start,
            actions: u32::try_from(definition.actions.len()).unwrap_or(u32::MAX),
        };
        let live = LiveRule {
            definition,
            owner: row.owner.clone(),
            version,
            start,
            enabled: true,
            // Those of the old version, until `put_in_force` exchanges them.
            actions: old.map(|old| old.actions.clone()).unwrap_or_default(),
        };
        draft.writes.push(Write::Rule(row));
        draft.opened.insert(name.clone(), targets);
        draft.table.rules.insert(name.clone(), Arc::new(live));
        Ok(Applied { kind: "rule", name: name.to_string(), action: change, warnings })
    }

    fn draft_sink(&self, draft: &mut Draft, sink: SinkDefinition, owner: &Principal) -> Result<Applied, ApplyError> {
        let name = sink.name.clone();
        let old = draft.sinks.get(&name);
        if old.is_some_and(|old| old.text == sink.text) {
            return Ok(done("sink", &name, Change::Unchanged));
        }
        let change = if old.is_some() { Change::Updated } else { Change::Created };
        let warnings = self.opener(&draft.sinks).check_sink(&sink, owner)?;
        draft.sinks.insert(name.clone(), sink.clone());
        // Rules that use it write to the new one from now on.
        for rule in draft.table.rules.values().filter(|rule| rule.enabled && uses(&rule.definition, &name)) {
            let owner = owned_by(&draft.owners, &rule.owner)?;
            let targets = self.opener(&draft.sinks).open_rule(&rule.definition, &owner)?;
            draft.opened.insert(rule.definition.name.clone(), targets);
        }
        draft.writes.push(Write::Sink(sink));
        Ok(Applied { kind: "sink", name: name.to_string(), action: change, warnings })
    }

    fn draft_enabled(
        &self,
        draft: &mut Draft,
        name: RuleName,
        enabled: bool,
        catalog: &Catalog,
    ) -> Result<Applied, ApplyError> {
        let old = draft.table.rules.get(&name).cloned().ok_or_else(|| ApplyError::NoRule(name.clone()))?;
        if old.enabled == enabled {
            return Ok(done("rule", &name, Change::Unchanged));
        }
        if enabled {
            let owner = owned_by(&draft.owners, &old.owner)?;
            draft.table.evaluator = plan(draft.table.evaluator.as_ref(), &old.definition, catalog)?;
            draft.opened.insert(name.clone(), self.opener(&draft.sinks).open_rule(&old.definition, &owner)?);
        } else {
            draft.table.evaluator = draft.table.evaluator.without_rule(&name);
            draft.opened.remove(&name);
        }
        let live = LiveRule {
            definition: old.definition.clone(),
            owner: old.owner.clone(),
            version: old.version,
            // What came while it was disabled is not for it: that is what disabling means, and it keeps nothing in the log.
            start: self.shared.log.appended(),
            enabled,
            actions: old.actions.clone(),
        };
        draft.table.rules.insert(name.clone(), Arc::new(live));
        draft.writes.push(Write::Enabled(name.clone(), enabled));
        Ok(done("rule", &name, if enabled { Change::Enabled } else { Change::Disabled }))
    }

    /// The declared schemas, which rules and queries are checked against.
    pub async fn catalog(&self) -> Result<Catalog, ApplyError> {
        let products = self.store.products().await.map_err(ApplyError::Store)?;
        let declared = products.into_iter().filter(|product| !product.schema.is_empty());
        Ok(Catalog { schemas: declared.map(|product| (product.id, product.schema)).collect() })
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), ApplyError> {
        let now = self.shared.clock.now();
        for write in writes {
            let written = match write {
                Write::Rule(rule) => self.store.put_rule(rule, now).await.map(|_| ()),
                Write::Enabled(name, enabled) => self.store.set_rule_enabled(&name, enabled).await,
                Write::DropRule(name) => self.store.delete_rule(&name).await,
                Write::Sink(sink) => self.store.put_sink(&sink.name, &sink.kind, &sink.text, now).await,
                Write::DropSink(name) => self.store.delete_sink(&name).await,
            };
            written.map_err(ApplyError::Store)?;
        }
        Ok(())
    }

    /// Exchanges the table. Actions of changed rules are stopped first; their successors go on from where they were.
    async fn put_in_force(
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
        let worker = Worker::new(action, Arc::clone(&self.shared));
        let drain = self.drain.clone();
        self.drain.spawn("action", worker.run(drain));
    }

    async fn sinks(&self) -> Result<BTreeMap<SinkName, SinkDefinition>, ApplyError> {
        let mut sinks = BTreeMap::new();
        for row in self.store.sinks().await.map_err(ApplyError::Store)? {
            for statement in self.language.parse(&row.text)? {
                if let Statement::CreateSink(sink) = statement {
                    sinks.insert(sink.name.clone(), sink);
                }
            }
        }
        Ok(sinks)
    }

    fn opener<'a>(&'a self, sinks: &'a BTreeMap<SinkName, SinkDefinition>) -> Opener<'a> {
        Opener { kinds: &self.kinds, sinks, store: &self.store }
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

fn plan(
    evaluator: &dyn Evaluator,
    definition: &RuleDefinition,
    catalog: &Catalog,
) -> Result<Arc<dyn Evaluator>, ApplyError> {
    let planned = evaluator.with_rules(std::slice::from_ref(definition), catalog);
    planned.map_err(|(rule, error)| ApplyError::Rule { rule, error })
}

/// The principals of keys, by name.
async fn owners(store: &Store) -> Result<BTreeMap<KeyName, Principal>, ApplyError> {
    let keys = store.keys().await.map_err(ApplyError::Store)?;
    let principals = keys.into_iter().map(|key| {
        let name = key.name.clone();
        let principal = match key.role {
            Role::Administrator => Principal::Administrator(key.name),
            Role::Application(grants) => Principal::Application { key: key.name, grants: Arc::new(grants) },
        };
        (name, principal)
    });
    Ok(principals.collect())
}

/// The principal that a rule acts for.
fn owned_by(owners: &BTreeMap<KeyName, Principal>, name: &KeyName) -> Result<Principal, ApplyError> {
    let gone = || ApplyError::invalid(format!("key {name}, which owns the rule, is gone; apply the rule again"));
    owners.get(name).cloned().ok_or_else(gone)
}

fn owner_name(owner: &Principal) -> Result<&KeyName, ApplyError> {
    match owner {
        Principal::Administrator(key) | Principal::Application { key, .. } => Ok(key),
        Principal::Device(_) | Principal::Rule { .. } => Err(ApplyError::invalid("only a key can own rules")),
    }
}

fn uses(definition: &RuleDefinition, sink: &SinkName) -> bool {
    definition.actions.iter().chain(&definition.on_error).any(|action| action.target == sink.as_str())
}

fn done(kind: &'static str, name: impl std::fmt::Display, action: Change) -> Applied {
    Applied { kind, name: name.to_string(), action, warnings: Vec::new() }
}

//! Changing rules: everything is checked first, then stored, then put in force. The others run on meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use weir_core::{
    IndexName, KeyName, PluginName, Principal, RuleName, SinkName,
    plugin::Plugins,
    seams::{Catalog, Evaluator, Language, TargetKind},
    statement::{IndexDefinition, RuleDefinition, SinkDefinition, StartFrom, Statement},
    table::TableSchema,
};
use weir_store::{INDEXES, NewRule, Role, Store, StoreError};

use super::{
    ApplyError, RuleRuntime,
    action::Shared,
    table::{LiveRule, OpenTargets, Opener, PLUGIN, Table},
    windows,
};
use crate::{Drain, admin::AdminError, policy::PolicyInForce};

/// What became of one statement.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    /// `rule`, `sink` or `index`.
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
    /// The texts of declared indexes.
    indexes: BTreeMap<IndexName, String>,
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
    Index(IndexDefinition),
    DropIndex(IndexName),
}

impl RuleRuntime {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Store,
        language: Arc<dyn Language>,
        kinds: Vec<Arc<dyn TargetKind>>,
        plugins: Arc<dyn Plugins>,
        policy: PolicyInForce,
        drain: Drain,
    ) -> Self {
        Self { shared, store, language, kinds: kinds.into(), plugins, changing: Arc::default(), drain, policy }
    }

    /// Runs a script. If any statement fails, none has an effect.
    pub async fn apply(&self, script: &str, owner: &Principal) -> Result<Vec<Applied>, ApplyError> {
        let statements = self.language.parse(script)?;
        self.change_as_written(statements, owner, Some(script)).await
    }

    /// Runs statements that are parsed already.
    pub async fn change(&self, statements: Vec<Statement>, owner: &Principal) -> Result<Vec<Applied>, ApplyError> {
        self.change_as_written(statements, owner, None).await
    }

    /// `script`: the text that the statements stand in, so that errors point into it.
    async fn change_as_written(
        &self,
        statements: Vec<Statement>,
        owner: &Principal,
        script: Option<&str>,
    ) -> Result<Vec<Applied>, ApplyError> {
        let _one_at_a_time = self.changing.lock().await;
        let catalog = self.catalog().await?;
        let mut draft = Draft {
            table: Table::clone(&self.shared.table.load()),
            sinks: self.sinks().await?,
            indexes: self.indexes().await?,
            owners: owners(&self.store).await?,
            opened: BTreeMap::new(),
            writes: Vec::new(),
        };
        let mut applied = Vec::with_capacity(statements.len());
        for statement in statements {
            let text = match &statement {
                Statement::CreateRule(definition) => definition.text.clone(),
                _ => String::new(),
            };
            let drafted = self.draft(&mut draft, statement, owner, &catalog);
            applied.push(drafted.map_err(|error| match (error, script) {
                (ApplyError::Rule { rule, error }, Some(script)) => {
                    ApplyError::Rule { rule, error: error.within(script, &text) }
                }
                (error, _) => error,
            })?);
        }
        if draft.indexes.len() > INDEXES as usize {
            let limit = INDEXES;
            let too_many = StoreError::TooMany { what: "indexes", of: "the hub".to_owned(), limit };
            return Err(ApplyError::Store(too_many));
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
            Statement::CreateIndex(index) => Ok(draft_index(draft, index)),
            Statement::DropIndex(name) => {
                draft.indexes.remove(&name).ok_or_else(|| ApplyError::NoIndex(name.clone()))?;
                draft.writes.push(Write::DropIndex(name.clone()));
                Ok(done("index", &name, Change::Deleted))
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
            self.policy.load().may_subscribe(owner, source)?;
        }
        // Tables show all devices, as queries do.
        if let Some(table) = definition.tables.first().filter(|_| !matches!(owner, Principal::Administrator(_))) {
            return Err(ApplyError::invalid(format!("rule {name}: only administrators may join {table}")));
        }
        let targets = self.opener(&draft.sinks).open_rule(&definition, owner)?;
        for topic in targets.actions.iter().chain(&targets.on_error).filter_map(|open| open.publishes_to.as_deref()) {
            self.policy.load().may_publish(owner, topic)?;
        }
        let mut warnings = targets.warnings.clone();
        let before = draft.table.evaluator.window_shape(&name);
        draft.table.evaluator = plan(draft.table.evaluator.as_ref(), &definition, catalog)?;
        warnings.extend(windows::warning(before.as_ref(), draft.table.evaluator.as_ref(), &name, old.as_deref()));
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
            windows: old.as_ref().and_then(|old| old.windows.clone()),
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
            windows: old.windows.clone(),
        };
        draft.table.rules.insert(name.clone(), Arc::new(live));
        draft.writes.push(Write::Enabled(name.clone(), enabled));
        Ok(done("rule", &name, if enabled { Change::Enabled } else { Change::Disabled }))
    }

    /// The declared schemas, which rules and queries are checked against.
    pub async fn catalog(&self) -> Result<Catalog, ApplyError> {
        let products = self.store.products().await.map_err(ApplyError::Store)?;
        let declared = products.into_iter().filter(|product| !product.schema.is_empty());
        let schemas = declared.map(|product| (product.id, product.schema)).collect();
        Ok(Catalog { schemas, tables: vec![TableSchema::devices(), TableSchema::shadows()] })
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
                Write::Index(index) => self.store.put_index(index, now).await,
                Write::DropIndex(name) => self.store.delete_index(&name).await,
            };
            written.map_err(ApplyError::Store)?;
        }
        Ok(())
    }

    pub(crate) fn plugins(&self) -> &dyn Plugins {
        self.plugins.as_ref()
    }

    /// Deletes a plugin that no sink and no rule uses. No change of rules goes on meanwhile.
    pub(crate) async fn delete_plugin(&self, name: &PluginName) -> Result<(), AdminError> {
        let _one_at_a_time = self.changing.lock().await;
        let kind = format!("{PLUGIN}{name}");
        let in_use = |user: String| AdminError::PluginInUse { plugin: name.to_string(), user };
        if let Some(sink) = self.store.sinks().await?.into_iter().find(|sink| sink.kind == kind) {
            return Err(in_use(format!("sink {}", sink.name)));
        }
        let table = self.shared.table.load();
        let uses =
            |rule: &RuleDefinition| rule.actions.iter().chain(&rule.on_error).any(|action| action.target == kind);
        if let Some(rule) = table.rules.values().find(|rule| uses(&rule.definition)) {
            return Err(in_use(format!("rule {}", rule.definition.name)));
        }
        self.store.delete_plugin(name).await?;
        self.plugins.forget(name);
        Ok(())
    }

    pub(super) async fn sinks(&self) -> Result<BTreeMap<SinkName, SinkDefinition>, ApplyError> {
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

    async fn indexes(&self) -> Result<BTreeMap<IndexName, String>, ApplyError> {
        let rows = self.store.indexes().await.map_err(ApplyError::Store)?;
        Ok(rows.into_iter().map(|row| (row.name, row.text)).collect())
    }

    pub(super) fn opener<'a>(&'a self, sinks: &'a BTreeMap<SinkName, SinkDefinition>) -> Opener<'a> {
        Opener { kinds: &self.kinds, plugins: self.plugins.as_ref(), sinks, store: &self.store }
    }
}

fn draft_index(draft: &mut Draft, index: IndexDefinition) -> Applied {
    let name = index.name.clone();
    let change = match draft.indexes.insert(name.clone(), index.text.clone()) {
        Some(old) if old == index.text => return done("index", &name, Change::Unchanged),
        Some(_) => Change::Updated,
        None => Change::Created,
    };
    draft.writes.push(Write::Index(index));
    done("index", &name, change)
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
pub(super) async fn owners(store: &Store) -> Result<BTreeMap<KeyName, Principal>, ApplyError> {
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
pub(super) fn owned_by(owners: &BTreeMap<KeyName, Principal>, name: &KeyName) -> Result<Principal, ApplyError> {
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
    definition
        .actions
        .iter()
        .chain(&definition.on_error)
        .chain(&definition.on_late)
        .any(|action| action.target == sink.as_str())
}

fn done(kind: &'static str, name: impl std::fmt::Display, action: Change) -> Applied {
    Applied { kind, name: name.to_string(), action, warnings: Vec::new() }
}

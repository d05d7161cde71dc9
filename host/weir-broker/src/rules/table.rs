//! The rules in force: one immutable table, exchanged whole when a rule changes, so that no rule stops another.

use std::{collections::BTreeMap, sync::Arc};

use weir_core::{
    KeyName, Offset, PluginName, Principal, RuleName, SinkName,
    plugin::Plugins,
    seams::{Evaluator, SettingValue, Settings, Target, TargetContext, TargetKind},
    statement::{ActionDefinition, RuleDefinition, Setting, SinkDefinition},
};
use weir_store::Store;

use super::{ApplyError, action::Action, windows::LiveWindows};

/// What the name of a plugin follows where it is used as a kind of target.
pub(super) const PLUGIN: &str = "plugin.";

#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) evaluator: Arc<dyn Evaluator>,
    pub(crate) rules: BTreeMap<RuleName, Arc<LiveRule>>,
}

/// A rule and its actions. A disabled rule has none: it reads nothing and keeps nothing in the log.
pub(crate) struct LiveRule {
    pub(crate) definition: RuleDefinition,
    pub(crate) owner: KeyName,
    pub(crate) version: u32,
    /// The first offset that it reads.
    pub(crate) start: Offset,
    pub(crate) enabled: bool,
    pub(crate) actions: Vec<Arc<Action>>,
    /// What makes the rows that the actions read, if the rule has windows.
    pub(crate) windows: Option<Arc<LiveWindows>>,
}

/// A target with the name to show for it.
#[derive(Clone)]
pub(crate) struct OpenTarget {
    pub(crate) name: String,
    pub(crate) target: Arc<dyn Target>,
    /// Where in the hub it publishes, if that is the same for all rows.
    pub(crate) publishes_to: Option<String>,
}

/// What a rule's actions were opened as.
pub(crate) struct OpenTargets {
    pub(crate) actions: Vec<OpenTarget>,
    pub(crate) on_error: Option<OpenTarget>,
    pub(crate) on_late: Option<OpenTarget>,
    pub(crate) warnings: Vec<String>,
}

/// Opens targets: kinds by name, sinks by name, secrets from the store.
pub(crate) struct Opener<'a> {
    pub(crate) kinds: &'a [Arc<dyn TargetKind>],
    pub(crate) plugins: &'a dyn Plugins,
    pub(crate) sinks: &'a BTreeMap<SinkName, SinkDefinition>,
    pub(crate) store: &'a Store,
}

impl Opener<'_> {
    pub(crate) fn open_rule(&self, rule: &RuleDefinition, owner: &Principal) -> Result<OpenTargets, ApplyError> {
        let context =
            || TargetContext { rule: rule.name.clone(), owner: owner.clone(), sink: None, grants: Vec::new() };
        let mut warnings = Vec::new();
        let actions = rule.actions.iter().map(|action| self.open(action, context(), &mut warnings));
        let actions = actions.collect::<Result<Vec<_>, _>>()?;
        // The row that failed may be the very thing that a template would be made of.
        let mut aside = |action: &Option<ActionDefinition>, which: &str| {
            let Some(action) = action else { return Ok(None) };
            if let Some((setting, _)) = action.settings.iter().find(|(_, v)| matches!(v, Setting::Template(_))) {
                return Err(ApplyError::invalid(format!(
                    "rule {}: {setting} of the {which} target cannot hold ${{…}}; write a fixed value",
                    rule.name
                )));
            }
            self.open(action, context(), &mut warnings).map(Some)
        };
        let on_error = aside(&rule.on_error, "error")?;
        let on_late = aside(&rule.on_late, "late")?;
        Ok(OpenTargets { actions, on_error, on_late, warnings })
    }

    /// Checks a sink by opening what it describes.
    pub(crate) fn check_sink(&self, sink: &SinkDefinition, owner: &Principal) -> Result<Vec<String>, ApplyError> {
        let rule = sink.name.as_str().parse().map_err(|error| ApplyError::invalid(format!("{error}")))?;
        let mut warnings = Vec::new();
        let kind = self.kind(&sink.kind)?;
        if !sink.grants.is_empty() && !kind.takes_grants() {
            return Err(ApplyError::invalid(format!(
                "sink {}: {} takes no GRANT: only plugins do",
                sink.name, sink.kind
            )));
        }
        if let Some((setting, _)) = sink.settings.iter().find(|(_, value)| matches!(value, Setting::Template(_))) {
            return Err(ApplyError::invalid(format!(
                "sink {}: {setting} cannot hold ${{…}}, which is known only to a rule; write {}({setting} => …) in the rule",
                sink.name, sink.kind
            )));
        }
        let (name, grants) = (Some(sink.name.clone()), sink.grants.clone());
        let context = TargetContext { rule, owner: owner.clone(), sink: name, grants };
        self.open_kind(kind.as_ref(), &sink.settings, context, &mut warnings)?;
        Ok(warnings)
    }

    fn open(
        &self,
        action: &ActionDefinition,
        mut context: TargetContext,
        warnings: &mut Vec<String>,
    ) -> Result<OpenTarget, ApplyError> {
        let sink = self.sinks.iter().find(|(name, _)| name.as_str() == action.target).map(|(_, sink)| sink);
        let (kind, settings) = match sink {
            Some(sink) if action.settings.is_empty() => {
                context.sink = Some(sink.name.clone());
                context.grants.clone_from(&sink.grants);
                (self.kind(&sink.kind)?, &sink.settings)
            }
            Some(_) => {
                return Err(ApplyError::invalid(format!(
                    "sink {} takes no settings here; they stand in its CREATE SINK",
                    action.target
                )));
            }
            None => (self.kind(&action.target)?, &action.settings),
        };
        let target = self.open_kind(kind.as_ref(), settings, context, warnings)?;
        let is_fixed = settings.iter().all(|(_, setting)| !matches!(setting, Setting::Template(_)));
        let publishes_to = if is_fixed { target.publishes_to() } else { None };
        Ok(OpenTarget { name: action.target.clone(), target, publishes_to })
    }

    fn kind(&self, name: &str) -> Result<Arc<dyn TargetKind>, ApplyError> {
        if let Some(plugin) = name.strip_prefix(PLUGIN) {
            return self.plugin(plugin);
        }
        self.kinds.iter().find(|kind| kind.name() == name).map(Arc::clone).ok_or_else(|| {
            let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
            let sinks: Vec<&str> = self.sinks.keys().map(SinkName::as_str).collect();
            let mut known = kinds;
            known.extend(sinks);
            ApplyError::invalid(format!("there is no target or sink {name}; there are {}", known.join(", ")))
        })
    }

    fn plugin(&self, name: &str) -> Result<Arc<dyn TargetKind>, ApplyError> {
        let plugin = name.parse::<PluginName>().map_err(|error| ApplyError::invalid(error.to_string()))?;
        self.plugins.target_kind(&plugin).ok_or_else(|| {
            let names = self.plugins.names();
            let is_there = names.contains(&plugin);
            let names: Vec<&str> = names.iter().map(PluginName::as_str).collect();
            ApplyError::invalid(match (is_there, names.as_slice()) {
                (true, _) => format!("plugin {plugin} is not a sink"),
                (false, []) => format!("there is no plugin {plugin}; upload it by `weir plugin push {plugin}.wasm`"),
                (false, names) => format!(
                    "there is no plugin {plugin}; upload it by `weir plugin push {plugin}.wasm`, or use one of {}",
                    names.join(", ")
                ),
            })
        })
    }

    fn open_kind(
        &self,
        kind: &dyn TargetKind,
        settings: &[(String, Setting)],
        context: TargetContext,
        warnings: &mut Vec<String>,
    ) -> Result<Arc<dyn Target>, ApplyError> {
        let specs = kind.settings();
        for spec in specs.iter().filter(|spec| spec.required) {
            if !settings.iter().any(|(name, _)| name == spec.name) {
                return Err(ApplyError::invalid(format!("{} lacks {}: write {0}({1} => '…')", kind.name(), spec.name)));
            }
        }
        let mut resolved = Settings::default();
        for (name, setting) in settings {
            let treated = kind.setting(name).ok_or_else(|| {
                let known: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
                ApplyError::invalid(format!("{} has no setting {name}; it has {}", kind.name(), known.join(", ")))
            })?;
            if let Some(value) = self.resolve(kind, (name, treated), setting, warnings)? {
                resolved.0.push((name.clone(), value));
            }
        }
        kind.open(&resolved, context).map_err(|error| ApplyError::invalid(format!("{}: {error}", kind.name())))
    }

    /// The value of a setting, or nothing if each row brings its own.
    fn resolve(
        &self,
        kind: &dyn TargetKind,
        (name, treated): (&str, SettingValue),
        setting: &Setting,
        warnings: &mut Vec<String>,
    ) -> Result<Option<String>, ApplyError> {
        match (setting, treated) {
            (Setting::Literal(value), SettingValue::Secret) => {
                warnings.push(format!(
                    "{}: {} stands in the rule in the clear; keep it by `weir create secret NAME` and write secret('NAME')",
                    kind.name(),
                    name
                ));
                Ok(Some(value.clone()))
            }
            (Setting::Literal(value), _) => Ok(Some(value.clone())),
            (Setting::Template(_), SettingValue::Topic | SettingValue::Url | SettingValue::Name) => Ok(None),
            (Setting::Template(_), SettingValue::Plain | SettingValue::Secret | SettingValue::Any) => {
                Err(ApplyError::invalid(format!("{}: {name} cannot hold ${{…}}", kind.name())))
            }
            (Setting::Secret(name), _) => {
                let value = self.store.secret(name).map_err(ApplyError::Store)?.ok_or_else(|| {
                    ApplyError::invalid(format!("there is no secret {name}; make it by `weir create secret {name}`"))
                })?;
                let text = String::from_utf8(value);
                text.map(Some).map_err(|_| ApplyError::invalid(format!("secret {name} is not text")))
            }
        }
    }
}

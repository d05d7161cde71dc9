//! What a script of the rule language says, once it is parsed. The texts are kept as written: they are what is stored,
//! shown and compared.

use serde::{Deserialize, Serialize};

use crate::{Grant, IndexName, RuleName, SecretName, SinkName, TopicFilter, table::Indexed};

/// One statement of a script, as `weir apply -f` uploads it.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    CreateRule(RuleDefinition),
    CreateSink(SinkDefinition),
    CreateIndex(IndexDefinition),
    DropRule(RuleName),
    DropSink(SinkName),
    DropIndex(IndexName),
    EnableRule(RuleName),
    DisableRule(RuleName),
}

/// `CREATE RULE name TO action, … [ON ERROR TO action] [EVENT TIME …] [START FROM …] AS SELECT …`
#[derive(Debug, Clone, PartialEq)]
pub struct RuleDefinition {
    pub name: RuleName,
    /// The whole statement as written, without the semicolon.
    pub text: String,
    /// The topic filters after `FROM`.
    pub sources: Vec<TopicFilter>,
    /// Tables that are joined: what they hold when a message is evaluated.
    pub tables: Vec<String>,
    pub actions: Vec<ActionDefinition>,
    pub on_error: Option<ActionDefinition>,
    /// It groups messages in windows: its actions read what these make ([`crate::windows::rows_topic`]).
    pub windowed: bool,
    /// Where messages go that come too late for their windows.
    pub on_late: Option<ActionDefinition>,
    pub start: StartFrom,
}

/// Where a new rule begins to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StartFrom {
    /// With the messages accepted after it was saved.
    #[default]
    Now,
    /// With the oldest message that the log still holds.
    Beginning,
}

/// `CREATE SINK name USING kind WITH (…) [GRANT …]`
#[derive(Debug, Clone, PartialEq)]
pub struct SinkDefinition {
    pub name: SinkName,
    pub text: String,
    /// The kind of target, such as `webhook` or `plugin.influxdb`.
    pub kind: String,
    pub settings: Vec<(String, Setting)>,
    /// What a plugin may touch for this sink.
    pub grants: Vec<Grant>,
}

/// `CREATE INDEX name ON shadows (reported.fw)`, or `(reported.fw <> desired.fw)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDefinition {
    pub name: IndexName,
    pub text: String,
    pub indexed: Indexed,
}

/// `webhook(url => '…', token => secret('hot'))`, or the bare name of a sink.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionDefinition {
    /// A kind of target, or a sink's name when there are no settings.
    pub target: String,
    pub settings: Vec<(String, Setting)>,
}

/// The value of a setting of a target.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// The same for every row.
    Literal(String),
    /// Holds `${…}`: evaluated for each row, by the rule engine, into [`crate::seams::Rows::arguments`].
    Template(String),
    Secret(SecretName),
}

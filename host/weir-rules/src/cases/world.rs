//! What a file has set up, and what a statement makes of it.

use std::{fmt::Write as _, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt8Array,
        UInt16Array, UInt32Array, UInt64Array,
    },
    compute::kernels::cast_utils::string_to_timestamp_nanos,
};
use weir_core::{
    Offset, Protocol, Topic,
    schema::{RECORD_SCHEMA, Records},
    seams::{Catalog, Evaluator, FieldType, Language, RuleEvaluation, SqlError},
    statement::{RuleDefinition, Statement},
    table::TableSchema,
};

use crate::{language::SqlLanguage, plan};

/// When the first message of a block was accepted, unless it says otherwise: 2026-01-31 12:00:00 UTC.
const BEGINNING: i64 = 1_769_860_800_000;

/// From one message to the next, in milliseconds.
const BETWEEN: i64 = 1_000;

/// What the blocks of a file have set up so far.
#[derive(Debug)]
pub struct World {
    pub catalog: Catalog,
    pub messages: Vec<Message>,
    /// The script of the last `rules` block.
    rules: String,
}

/// A message as the hub would have accepted it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    topic: String,
    payload: String,
    qos: u8,
    retain: bool,
    /// Milliseconds since 1970.
    accepted_at: i64,
}

/// Why the rows of a script cannot be said.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A text that its author should see: it may be what the file expects.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The file is wrong, or the engine is.
    #[error("{0}")]
    Wrong(String),
}

impl Default for World {
    /// The tables that every hub has.
    fn default() -> Self {
        let tables = vec![TableSchema::devices(), TableSchema::shadows()];
        Self { catalog: Catalog { tables, ..Catalog::default() }, messages: Vec::new(), rules: String::new() }
    }
}

impl World {
    /// Runs a block; what came out, where something is expected. `include` gives the text of a file.
    pub(super) fn block(
        &mut self,
        head: &str,
        body: &str,
        include: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Option<String>, String> {
        let (kind, argument) = head.split_once(' ').unwrap_or((head, ""));
        let shown = |result: Result<String, SqlError>| Some(result.unwrap_or_else(|error| error.to_string()));
        Ok(match kind {
            "schema" => {
                let product = argument.parse().map_err(|_| format!("{argument:?} is no product"))?;
                self.catalog.schemas.insert(product, body.lines().map(field).collect::<Result<_, _>>()?);
                None
            }
            "messages" => {
                self.messages = messages(body.lines())?;
                None
            }
            "rules" => {
                self.rules = if argument.is_empty() { body.to_owned() } else { include(argument)? };
                None
            }
            "rows" => {
                let script = if body.is_empty() { self.rules.as_str() } else { body };
                match self.evaluate(script) {
                    Ok(rows) => Some(rows),
                    Err(CaseError::Sql(error)) => Some(error.to_string()),
                    Err(CaseError::Wrong(reason)) => return Err(reason),
                }
            }
            "error" => shown(apply(body, &self.catalog).map(|_| "no error".to_owned())),
            "query" => {
                shown(plan::plan_query(body, &self.catalog).map(|query| query.plan.display_indent().to_string()))
            }
            other => {
                return Err(format!(
                    "there is no block {other:?}; one begins with messages, schema, rules, rows, error or query"
                ));
            }
        })
    }
}

/// `[at=TIME|+DURATION] [qos=1] [retain] TOPIC PAYLOAD`, a message per line.
pub fn messages<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Message>, String> {
    let mut messages = Vec::<Message>::new();
    for line in lines {
        let before = messages.last().map(|before| before.accepted_at);
        messages.push(message(line, before)?);
    }
    Ok(messages)
}

fn message(line: &str, before: Option<i64>) -> Result<Message, String> {
    let mut message =
        Message { accepted_at: before.map_or(BEGINNING, |before| before + BETWEEN), ..Message::default() };
    let mut rest = line;
    loop {
        let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail;
        match word.split_once('=') {
            Some(("at", time)) => message.accepted_at = accepted_at(time, before)?,
            Some(("qos", qos)) => {
                let known = qos.parse().ok().filter(|qos| (0..=2).contains(qos));
                message.qos = known.ok_or_else(|| format!("{line:?}: qos is 0, 1 or 2"))?;
            }
            _ if word == "retain" => message.retain = true,
            _ => {
                word.clone_into(&mut message.topic);
                rest.clone_into(&mut message.payload);
                return Ok(message);
            }
        }
    }
}

fn accepted_at(text: &str, before: Option<i64>) -> Result<i64, String> {
    let wrong = || format!("at={text}: write a time (2026-01-31T12:00:00Z), or how much later than the last (+30s)");
    match text.strip_prefix('+') {
        Some(later) => {
            let later = humantime::parse_duration(later).map_err(|_| wrong())?;
            Ok(before.unwrap_or(BEGINNING) + i64::try_from(later.as_millis()).map_err(|_| wrong())?)
        }
        None => Ok(string_to_timestamp_nanos(text).map_err(|_| wrong())?.div_euclid(1_000_000)),
    }
}

fn field(line: &str) -> Result<(String, FieldType), String> {
    let (name, field_type) = line.rsplit_once(' ').ok_or_else(|| format!("{line:?} is no `name type`"))?;
    let field_type = match field_type {
        "number" => FieldType::Number,
        "integer" => FieldType::Integer,
        "text" => FieldType::Text,
        "boolean" => FieldType::Boolean,
        "json" => FieldType::Json,
        other => return Err(format!("{other:?} is no type; write number, integer, text, boolean or json")),
    };
    Ok((name.to_owned(), field_type))
}

/// Parses a script and plans its rules, as `weir apply` does.
fn apply(script: &str, catalog: &Catalog) -> Result<(Arc<dyn Evaluator>, Vec<RuleDefinition>), SqlError> {
    let mut rules = Vec::new();
    for statement in SqlLanguage.parse(script)? {
        if let Statement::CreateRule(rule) = statement {
            rules.push(rule);
        }
    }
    let evaluator = SqlLanguage.evaluator().with_rules(&rules, catalog).map_err(|(name, error)| {
        match rules.iter().find(|rule| rule.name == name) {
            Some(rule) => error.within(script, &rule.text),
            None => error,
        }
    })?;
    Ok((evaluator, rules))
}

impl World {
    /// The rows of a rule; of a lone SELECT only their payloads.
    pub fn evaluate(&self, body: &str) -> Result<String, CaseError> {
        let is_select = body.starts_with("SELECT");
        let script = if is_select { format!("CREATE RULE test TO out AS\n{body}") } else { body.to_owned() };
        let (evaluator, rules) = apply(&script, &self.catalog)?;
        let whole = evaluator.evaluate(&records(&self.messages, 0)?);
        let mut text = String::new();
        for rule in &rules {
            if let Some(evaluation) = whole.iter().find(|evaluation| evaluation.rule == rule.name) {
                describe(rule, evaluation, is_select, &mut text);
            }
            // A row does not depend on which others share its batch.
            let mut single = Vec::new();
            for (number, message) in self.messages.iter().enumerate() {
                let alone = evaluator.evaluate_rule(&rule.name, &records(std::slice::from_ref(message), number)?);
                single.extend(alone.iter().flat_map(rows_of));
            }
            let whole = whole.iter().find(|evaluation| evaluation.rule == rule.name).map(rows_of).unwrap_or_default();
            if sorted(single) != sorted(whole) {
                return Err(CaseError::Wrong(format!("rule {}: rows differ between one batch and many", rule.name)));
            }
        }
        Ok(text.trim_end().to_owned())
    }
}

/// `first` is the number of the first message.
fn records(messages: &[Message], first: usize) -> Result<Records, CaseError> {
    let column = |array: ArrayRef| array;
    macro_rules! array {
        ($array:ty, $value:expr) => {
            column(Arc::new(messages.iter().enumerate().map($value).collect::<$array>()))
        };
    }
    let device = |message: &Message| Topic::device_of(&message.topic).map(|(p, d)| (p.to_owned(), d.to_owned()));
    let columns = vec![
        array!(UInt64Array, |(i, _)| Some(Offset::new(1, (first + i) as u64).0)),
        array!(UInt8Array, |_| Some(0)),
        array!(TimestampMillisecondArray, |(_, m)| Some(m.accepted_at)),
        array!(StringArray, |(_, m)| device(m).map(|(product, _)| product)),
        array!(StringArray, |(_, m)| device(m).map(|(_, device)| device)),
        array!(StringArray, |(_, m)| Some(m.topic.clone())),
        array!(StringArray, |_| Some("tester")),
        array!(StringArray, |_| None::<&str>),
        array!(UInt16Array, |_| None),
        array!(UInt8Array, |_| Some(Protocol::Mqtt311 as u8)),
        array!(UInt8Array, |(_, m)| Some(m.qos)),
        array!(BooleanArray, |(_, m)| Some(m.retain)),
        array!(UInt32Array, |_| None),
        array!(StringArray, |_| None::<&str>),
        array!(StringArray, |_| None::<&str>),
        array!(BinaryArray, |_| None::<&[u8]>),
        array!(StringArray, |_| None::<&str>),
        array!(UInt8Array, |_| Some(0)),
        array!(StringArray, |_| None::<&str>),
        array!(BinaryArray, |(_, m)| Some(m.payload.as_bytes())),
        array!(BooleanArray, |_| None),
    ];
    let batch =
        RecordBatch::try_new(RECORD_SCHEMA.clone(), columns).map_err(|error| CaseError::Wrong(error.to_string()))?;
    Records::try_from(&batch).map_err(|error| CaseError::Wrong(error.to_string()))
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

/// Every row of every action as a text.
fn rows_of(evaluation: &RuleEvaluation) -> Vec<String> {
    let rows = evaluation.actions.iter().enumerate().flat_map(|(action, rows)| {
        (0..rows.payload.len()).map(move |row| {
            let mut text = format!("{action} {}", String::from_utf8_lossy(rows.payload.value(row)));
            arguments(&rows.arguments, row, &mut text);
            text
        })
    });
    rows.collect()
}

fn arguments(arguments: &[(String, StringArray)], row: usize, text: &mut String) {
    for (name, values) in arguments {
        let value = if values.is_null(row) { "NULL" } else { values.value(row) };
        // Writing to a String cannot fail.
        let _written = write!(text, " {name}={value}");
    }
}

fn describe(rule: &RuleDefinition, evaluation: &RuleEvaluation, is_select: bool, text: &mut String) {
    for (action, rows) in rule.actions.iter().zip(&evaluation.actions) {
        for row in 0..rows.payload.len() {
            if !is_select {
                let _written = write!(text, "{}: ", action.target);
            }
            text.push_str(&String::from_utf8_lossy(rows.payload.value(row)));
            arguments(&rows.arguments, row, text);
            text.push('\n');
        }
    }
    for (path, count) in &evaluation.mismatches {
        let _written = writeln!(text, "mismatch: {path} {count}");
    }
    if let Some(failures) = &evaluation.failures {
        for (row, reason) in failures.reasons.iter().enumerate() {
            let _written = write!(text, "failed: {reason}");
            arguments(&failures.arguments, row, text);
            text.push('\n');
        }
    }
}

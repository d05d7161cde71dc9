//! What a file has set up, and what a statement makes of it.

use std::{fmt::Write as _, sync::Arc};

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt8Array,
    UInt16Array, UInt32Array, UInt64Array,
};
use weir_core::{
    Offset, Protocol, Topic,
    schema::{RECORD_SCHEMA, Records},
    seams::{Catalog, Evaluator, FieldType, Language, RuleEvaluation, RulePart, SqlError, Table},
    statement::{RuleDefinition, Statement},
    table::TableSchema,
};
use weir_rules::{language::SqlLanguage, plan};

use crate::{table, windows};

/// When the first message was accepted.
const START: i64 = 1_769_860_800_000;

/// What the blocks of a file have set up so far.
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    pub(crate) messages: Vec<Message>,
    /// What tables hold, each row a JSON object.
    pub(crate) tables: Vec<Arc<dyn Table>>,
}

impl Default for World {
    /// The tables that every hub has.
    fn default() -> Self {
        let tables = vec![TableSchema::devices(), TableSchema::shadows()];
        Self { catalog: Catalog { tables, ..Catalog::default() }, messages: Vec::new(), tables: Vec::new() }
    }
}

#[derive(Default)]
pub(crate) struct Message {
    topic: String,
    payload: String,
    qos: u8,
    retain: bool,
    /// When it was accepted, in milliseconds after the first; else a second after the one before.
    at: Option<i64>,
    /// It is no message but a clock tick.
    is_tick: bool,
    hop: u8,
}

impl World {
    /// Runs a block; what came out, where something is expected.
    pub(crate) fn block(&mut self, head: &str, body: &str) -> Option<String> {
        let mut words = head.split(' ');
        match words.next().unwrap() {
            "schema" => {
                let product = words.next().unwrap().parse().unwrap();
                self.catalog.schemas.insert(product, body.lines().map(field).collect());
                None
            }
            "table" => {
                let name = words.next().unwrap();
                let schema = self.catalog.tables.iter().find(|schema| schema.name == name).unwrap();
                let rows = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                self.tables.push(Arc::new(table::Rows { schema: Arc::clone(schema), rows }));
                None
            }
            "messages" => {
                self.messages = body.lines().map(message).collect();
                None
            }
            "rows" => Some(match self.evaluate(body) {
                Ok(rows) => rows,
                Err(error) => error.to_string(),
            }),
            "error" => Some(match apply(body, &self.catalog) {
                Ok(_) => "no error".to_owned(),
                Err(error) => error.to_string(),
            }),
            "query" => Some(match plan::plan_query(body, &self.catalog) {
                Ok(query) => query.plan.display_indent().to_string(),
                Err(error) => error.to_string(),
            }),
            other => panic!("there is no block {other}"),
        }
    }
}

/// `[qos=1] [retain] [at=SECONDS] [tick | TOPIC PAYLOAD]`
pub(crate) fn message(line: &str) -> Message {
    let mut message = Message::default();
    let mut rest = line;
    loop {
        let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail;
        match word {
            "qos=1" => message.qos = 1,
            "retain" => message.retain = true,
            "tick" => {
                message.is_tick = true;
                return message;
            }
            at if at.starts_with("at=") => {
                message.at = Some((at["at=".len()..].parse::<f64>().unwrap() * 1_000.0) as i64);
            }
            topic => {
                message.topic = topic.to_owned();
                message.payload = rest.to_owned();
                return message;
            }
        }
    }
}

impl Message {
    /// A message that was accepted `at` milliseconds after the first.
    pub(crate) fn accepted(at: i64, topic: &str, payload: String) -> Self {
        Self { topic: topic.to_owned(), payload, at: Some(at), ..Self::default() }
    }

    pub(crate) fn tick(at: i64) -> Self {
        Self { at: Some(at), is_tick: true, ..Self::default() }
    }
}

fn field(line: &str) -> (String, FieldType) {
    let (name, field_type) = line.rsplit_once(' ').unwrap();
    let field_type = match field_type {
        "number" => FieldType::Number,
        "integer" => FieldType::Integer,
        "text" => FieldType::Text,
        "boolean" => FieldType::Boolean,
        "json" => FieldType::Json,
        other => panic!("there is no type {other}"),
    };
    (name.to_owned(), field_type)
}

/// Parses a script and plans its rules, as `weir apply` does.
pub(crate) fn apply(script: &str, catalog: &Catalog) -> Result<(Arc<dyn Evaluator>, Vec<RuleDefinition>), SqlError> {
    let mut rules = Vec::new();
    for statement in SqlLanguage.parse(script)? {
        if let Statement::CreateRule(rule) = statement {
            rules.push(rule);
        }
    }
    let evaluator = SqlLanguage.evaluator().with_rules(&rules, catalog).map_err(|(name, error)| {
        let rule = rules.iter().find(|rule| rule.name == name).unwrap();
        error.within(script, &rule.text)
    })?;
    Ok((evaluator, rules))
}

impl World {
    /// The rows of a rule; of a lone SELECT only their payloads.
    pub(crate) fn evaluate(&self, body: &str) -> Result<String, SqlError> {
        let is_select = body.starts_with("SELECT");
        let script = if is_select { format!("CREATE RULE test TO out AS\n{body}") } else { body.to_owned() };
        let (evaluator, rules) = apply(&script, &self.catalog)?;
        let whole = evaluator.evaluate(&self.records(0, self.messages.len()));
        let mut text = String::new();
        for rule in &rules {
            if !rule.tables.is_empty() {
                let evaluate = |records: &Records| evaluator.evaluate_joined(&rule.name, records, &self.tables);
                let whole = evaluate(&self.records(0, self.messages.len())).unwrap().unwrap();
                describe(rule, &whole, is_select, &mut text);
                let single = (0..self.messages.len()).map(|row| evaluate(&self.records(row, 1)).unwrap().unwrap());
                let single: Vec<_> = single.flat_map(|evaluation| rows_of(&evaluation)).collect();
                assert_eq!(sorted(single), sorted(rows_of(&whole)), "{body}: rows differ between one batch and many");
                assert_eq!(whole.read, whole.matched + whole.unmatched + whole.failed, "{body}");
                continue;
            }
            if rule.windowed {
                windows::describe(self, evaluator.as_ref(), rule, is_select, &mut text);
                continue;
            }
            if let Some(evaluation) = whole.iter().find(|evaluation| evaluation.rule == rule.name) {
                describe(rule, evaluation, is_select, &mut text);
            }
            // A row does not depend on which others share its batch.
            let single = (0..self.messages.len()).filter_map(|row| {
                evaluator
                    .evaluate_rule(&rule.name, RulePart::Rows, &self.records(row, 1))
                    .map(|evaluation| rows_of(&evaluation))
            });
            let single: Vec<_> = single.flatten().collect();
            let whole = whole.iter().find(|evaluation| evaluation.rule == rule.name).map(rows_of).unwrap_or_default();
            assert_eq!(sorted(single), sorted(whole), "{body}: rows differ between one batch and many");
        }
        Ok(text.trim_end().to_owned())
    }

    pub(crate) fn records(&self, from: usize, count: usize) -> Records {
        let messages = self.messages.get(from..from + count).unwrap();
        let column = |array: ArrayRef| array;
        macro_rules! array {
            ($array:ty, $value:expr) => {
                column(Arc::new(messages.iter().enumerate().map($value).collect::<$array>()))
            };
        }
        let device = |message: &Message| Topic::device_of(&message.topic).map(|(p, d)| (p.to_owned(), d.to_owned()));
        let columns = vec![
            array!(UInt64Array, |(i, _)| Some(Offset::new(1, (from + i) as u64).0)),
            array!(UInt8Array, |(_, m)| Some(u8::from(m.is_tick))),
            // 2026-01-31 12:00:00 UTC, a second later each.
            array!(TimestampMillisecondArray, |(i, m)| Some(START + m.at.unwrap_or((from + i) as i64 * 1_000))),
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
            array!(UInt8Array, |(_, m)| Some(m.hop)),
            array!(StringArray, |_| None::<&str>),
            array!(BinaryArray, |(_, m)| Some(m.payload.as_bytes())),
            array!(BooleanArray, |_| None),
        ];
        Records::try_from(&RecordBatch::try_new(RECORD_SCHEMA.clone(), columns).unwrap()).unwrap()
    }
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
        write!(text, " {name}={value}").unwrap();
    }
}

pub(crate) fn describe(rule: &RuleDefinition, evaluation: &RuleEvaluation, is_select: bool, text: &mut String) {
    for (action, rows) in rule.actions.iter().zip(&evaluation.actions) {
        for row in 0..rows.payload.len() {
            if !is_select {
                write!(text, "{}: ", action.target).unwrap();
            }
            text.push_str(&String::from_utf8_lossy(rows.payload.value(row)));
            arguments(&rows.arguments, row, text);
            text.push('\n');
        }
    }
    for (path, count) in &evaluation.mismatches {
        writeln!(text, "mismatch: {path} {count}").unwrap();
    }
    if let Some(failures) = &evaluation.failures {
        for (row, reason) in failures.reasons.iter().enumerate() {
            write!(text, "failed: {reason}").unwrap();
            arguments(&failures.arguments, row, text);
            text.push('\n');
        }
    }
}

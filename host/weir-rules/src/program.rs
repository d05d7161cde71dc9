//! A planned rule: what it reads, and the physical expressions that turn a batch into rows.
//!
//! Planning makes it, evaluation runs it; neither knows the other.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
pub use weir_core::path::{JsonPath, Step};
use weir_core::{RuleName, TopicFilter, seams::SettingValue};

use crate::window::WindowedRule;

/// The type that an occurrence of a path demands. A value of another type is NULL and counted as a mismatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ColumnType {
    /// Float64.
    Number,
    /// Int64, exact; a number with a fraction or beyond i64 is a mismatch.
    Integer,
    /// Utf8, the string unescaped.
    Text,
    Boolean,
    /// Utf8, the JSON text as it stands in the payload (JSON `null` is NULL). Never a mismatch.
    Json,
    /// Utf8, JSON in one canonical form, so that equal values are equal texts (`1` = `1.0`, keys sorted).
    Canonical,
}

/// A column of the message record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EnvelopeColumn {
    /// UInt64.
    Offset,
    /// Timestamp in milliseconds, UTC.
    AcceptedAt,
    /// Utf8, as are all down to `ContentType`.
    Product,
    Device,
    Topic,
    Publisher,
    Session,
    Protocol,
    ContentType,
    ResponseTopic,
    Origin,
    /// Int64, as are all below.
    Qos,
    Retain,
    Hop,
    PayloadLength,
}

/// A column that a program's expressions are bound to; input `i` is column `i` of their batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    Envelope(EnvelopeColumn),
    Path {
        path: JsonPath,
        column_type: ColumnType,
    },
    /// The payload's bytes (Binary).
    PayloadBytes,
    /// The whole payload as JSON text (Utf8).
    PayloadJson,
}

/// A column that a query's expressions over a table are bound to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableInput {
    /// The column at this place of the table, as it is.
    Column(usize),
    /// A value within a column that holds JSON.
    Path { column: usize, path: JsonPath, column_type: ColumnType },
}

/// A column of the SELECT.
#[derive(Debug, Clone)]
pub struct OutputColumn {
    pub name: String,
    pub expression: Arc<dyn PhysicalExpr>,
    /// The expression yields JSON text, which is put into the row as it is.
    pub is_json: bool,
}

/// What `SELECT` makes of a message.
#[derive(Debug, Clone)]
pub struct Output {
    /// `*`: the members of the payload come first, the columns replace or follow them. Without columns the payload
    /// passes through byte by byte.
    pub star: bool,
    pub columns: Vec<OutputColumn>,
}

/// A setting with `${…}`, for each row a text.
#[derive(Debug, Clone)]
pub struct Argument {
    pub setting: String,
    pub pieces: Vec<Piece>,
    /// How the values are guarded: a topic takes no `/ + #` or NUL, a URL percent-encodes.
    pub value: SettingValue,
}

#[derive(Debug, Clone)]
pub enum Piece {
    Literal(String),
    /// Utf8-castable; NULL makes the whole setting NULL.
    Expression(Arc<dyn PhysicalExpr>),
}

/// A rule, planned once when it is saved.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: RuleName,
    pub sources: Vec<TopicFilter>,
    pub inputs: Vec<Input>,
    /// Boolean over the inputs; absent: every message matches. NULL is no match.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    pub output: Output,
    /// For each action, its settings with `${…}`.
    pub arguments: Vec<Vec<Argument>>,
    /// The same for the error target; these use `msg.*` only.
    pub error_arguments: Vec<Argument>,
    /// What makes the messages that the program reads, if windows do.
    pub windows: Option<Arc<WindowedRule>>,
    /// What its messages are joined with: then its columns are inputs, and the rows are made of them there.
    pub joins: Option<Arc<JoinedRule>>,
}

/// What a rule makes of its messages and the rows of tables that belong to them.
#[derive(Debug, Clone)]
pub struct JoinedRule {
    pub tables: Vec<JoinedTable>,
    /// The columns of the messages, then those of each table; what expressions are bound to.
    pub schema: SchemaRef,
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    pub columns: Vec<OutputColumn>,
    pub arguments: Vec<Vec<Argument>>,
}

/// A table that is looked up by the devices of the messages.
#[derive(Debug, Clone)]
pub struct JoinedTable {
    pub table: String,
    pub inputs: Vec<TableInput>,
    /// A message without a row of it stays, with NULL for its columns.
    pub left: bool,
    /// The product and the device that are looked for, over the columns of the messages.
    pub product: Arc<dyn PhysicalExpr>,
    pub device: Arc<dyn PhysicalExpr>,
    /// ON, over the columns up to those of this table.
    pub on: Arc<dyn PhysicalExpr>,
}

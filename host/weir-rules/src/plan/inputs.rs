//! The columns that expressions read, each once.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::{Column, TableReference};
use datafusion_expr::Expr;
use weir_core::table::{ColumnKind, Field as TableField, TableColumn};

use crate::program::{ColumnType, EnvelopeColumn, Input, TableInput};

/// Something that is read into a column.
pub(crate) trait Slot: PartialEq {
    fn name(&self) -> String;
    fn data_type(&self) -> DataType;
}

/// The columns of one source as they are found; their order is the order of the columns.
#[derive(Debug)]
pub(crate) struct Inputs<S = Input> {
    inputs: Vec<S>,
    names: Vec<String>,
    /// The source by which names are qualified, where there are several.
    qualifier: Option<TableReference>,
}

impl<S> Default for Inputs<S> {
    fn default() -> Self {
        Self { inputs: Vec::new(), names: Vec::new(), qualifier: None }
    }
}

impl<S: Slot> Inputs<S> {
    /// Inputs of one source of several.
    pub(crate) fn of(qualifier: Option<&str>) -> Self {
        Self { qualifier: qualifier.map(TableReference::bare), ..Self::default() }
    }

    /// The column of `input`, added if it is new.
    pub(crate) fn column(&mut self, input: S) -> Expr {
        let index = self.inputs.iter().position(|other| *other == input).unwrap_or_else(|| {
            let mut name = input.name();
            // Different paths can look the same: a key may hold a dot.
            while self.names.contains(&name) {
                name.push('\'');
            }
            self.names.push(name);
            self.inputs.push(input);
            self.inputs.len() - 1
        });
        let name = self.names.get(index).cloned().unwrap_or_default();
        Expr::Column(Column::new(self.qualifier.clone(), name))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        let fields = self.inputs.iter().zip(&self.names).map(|(input, name)| Field::new(name, input.data_type(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    pub(crate) fn into_vec(self) -> Vec<S> {
        self.inputs
    }
}

impl Slot for Input {
    fn name(&self) -> String {
        match self {
            Self::Envelope(column) => format!("msg.{}", envelope_name(*column)),
            Self::Path { path, column_type } => typed_name(&path.to_string(), *column_type),
            Self::PayloadBytes => "payload::bytes".to_owned(),
            Self::PayloadJson => "payload".to_owned(),
        }
    }

    fn data_type(&self) -> DataType {
        data_type(self)
    }
}

/// An input of a table, with what the table says of its column.
#[derive(Debug, Clone)]
pub(crate) struct TableSlot {
    pub(crate) input: TableInput,
    pub(crate) column: TableColumn,
}

impl PartialEq for TableSlot {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input
    }
}

impl Slot for TableSlot {
    fn name(&self) -> String {
        match &self.input {
            TableInput::Column(_) => self.column.name.clone(),
            TableInput::Path { path, column_type, .. } => {
                let field = TableField { column: self.column.name.clone(), path: path.clone() };
                typed_name(&field.to_string(), *column_type)
            }
        }
    }

    fn data_type(&self) -> DataType {
        match &self.input {
            TableInput::Column(_) => kind_type(self.column.kind),
            TableInput::Path { column_type, .. } => column_data_type(*column_type),
        }
    }
}

/// The Arrow type of a column of a table.
pub fn kind_type(kind: ColumnKind) -> DataType {
    match kind {
        ColumnKind::Text | ColumnKind::Json => DataType::Utf8,
        ColumnKind::Integer => DataType::Int64,
        ColumnKind::Boolean => DataType::Boolean,
        ColumnKind::Time => time_type(),
    }
}

fn typed_name(path: &str, column_type: ColumnType) -> String {
    format!("{path}::{}", format!("{column_type:?}").to_lowercase())
}

/// The Arrow type of an input's column.
pub fn data_type(input: &Input) -> DataType {
    match input {
        Input::Envelope(column) => match column {
            EnvelopeColumn::Offset => DataType::UInt64,
            EnvelopeColumn::AcceptedAt => time_type(),
            EnvelopeColumn::Product
            | EnvelopeColumn::Device
            | EnvelopeColumn::Topic
            | EnvelopeColumn::Publisher
            | EnvelopeColumn::Session
            | EnvelopeColumn::Protocol
            | EnvelopeColumn::ContentType
            | EnvelopeColumn::ResponseTopic
            | EnvelopeColumn::Origin => DataType::Utf8,
            EnvelopeColumn::Qos | EnvelopeColumn::Retain | EnvelopeColumn::Hop | EnvelopeColumn::PayloadLength => {
                DataType::Int64
            }
        },
        Input::Path { column_type, .. } => column_data_type(*column_type),
        Input::PayloadBytes => DataType::Binary,
        Input::PayloadJson => DataType::Utf8,
    }
}

pub(crate) fn column_data_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::Number => DataType::Float64,
        ColumnType::Integer => DataType::Int64,
        ColumnType::Text | ColumnType::Json | ColumnType::Canonical => DataType::Utf8,
        ColumnType::Boolean => DataType::Boolean,
    }
}

/// Times are in milliseconds, UTC, as the accept time is.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))
}

/// What stands behind `msg.`.
pub(crate) const ENVELOPE: [(&str, EnvelopeColumn); 14] = [
    ("offset", EnvelopeColumn::Offset),
    ("time", EnvelopeColumn::AcceptedAt),
    ("product", EnvelopeColumn::Product),
    ("device", EnvelopeColumn::Device),
    ("topic", EnvelopeColumn::Topic),
    ("publisher", EnvelopeColumn::Publisher),
    ("session", EnvelopeColumn::Session),
    ("protocol", EnvelopeColumn::Protocol),
    ("content_type", EnvelopeColumn::ContentType),
    ("response_topic", EnvelopeColumn::ResponseTopic),
    ("origin", EnvelopeColumn::Origin),
    ("qos", EnvelopeColumn::Qos),
    ("retain", EnvelopeColumn::Retain),
    ("hop", EnvelopeColumn::Hop),
];

fn envelope_name(column: EnvelopeColumn) -> &'static str {
    ENVELOPE.iter().find(|(_, other)| *other == column).map_or("payload_length", |(name, _)| name)
}

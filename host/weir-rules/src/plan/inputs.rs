//! The columns that expressions read, each once.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::Column;
use datafusion_expr::Expr;

use crate::program::{ColumnType, EnvelopeColumn, Input};

/// The inputs of a program as they are found; their order is the order of the columns.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    inputs: Vec<Input>,
    names: Vec<String>,
}

impl Inputs {
    /// The column of `input`, added if it is new.
    pub(crate) fn column(&mut self, input: Input) -> Expr {
        let index = self.inputs.iter().position(|other| *other == input).unwrap_or_else(|| {
            let mut name = input_name(&input);
            // Different paths can look the same: a key may hold a dot.
            while self.names.contains(&name) {
                name.push('\'');
            }
            self.names.push(name);
            self.inputs.push(input);
            self.inputs.len() - 1
        });
        let name = self.names.get(index).cloned().unwrap_or_default();
        Expr::Column(Column::new_unqualified(name))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        let fields = self.inputs.iter().zip(&self.names).map(|(input, name)| Field::new(name, data_type(input), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    pub(crate) fn into_vec(self) -> Vec<Input> {
        self.inputs
    }
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

fn input_name(input: &Input) -> String {
    match input {
        Input::Envelope(column) => format!("msg.{}", envelope_name(*column)),
        Input::Path { path, column_type } => format!("{path}::{}", format!("{column_type:?}").to_lowercase()),
        Input::PayloadBytes => "payload::bytes".to_owned(),
        Input::PayloadJson => "payload".to_owned(),
    }
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

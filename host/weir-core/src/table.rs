//! Tables that queries read beside messages: what they have, what a reader asks of them, and the indexes that users
//! declare on them.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::path::JsonPath;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Utf8.
    Text,
    /// Int64.
    Integer,
    Boolean,
    /// Milliseconds since 1970, UTC.
    Time,
    /// Utf8 that holds JSON text.
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    pub name: String,
    pub kind: ColumnKind,
}

/// A table and its columns, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    pub name: String,
    pub columns: Vec<TableColumn>,
}

impl TableSchema {
    fn new(name: &str, columns: &[(&str, ColumnKind)]) -> Arc<Self> {
        let column = |(name, kind): &(&str, ColumnKind)| TableColumn { name: (*name).to_owned(), kind: *kind };
        Arc::new(Self { name: name.to_owned(), columns: columns.iter().map(column).collect() })
    }

    /// Devices as they are registered, and whether they are connected now.
    pub fn devices() -> Arc<Self> {
        use ColumnKind::{Boolean, Text, Time};
        Self::new(
            "devices",
            &[
                ("product", Text),
                ("device", Text),
                ("enabled", Boolean),
                ("online", Boolean),
                ("protocol", Text),
                ("connected_at", Time),
                ("created_at", Time),
            ],
        )
    }

    /// Shadows, one row for each; the classic one of a device has no name.
    pub fn shadows() -> Arc<Self> {
        use ColumnKind::{Integer, Json, Text, Time};
        Self::new(
            "shadows",
            &[
                ("product", Text),
                ("device", Text),
                ("name", Text),
                ("version", Integer),
                ("reported", Json),
                ("desired", Json),
                ("delta", Json),
                ("metadata", Json),
                ("updated_at", Time),
            ],
        )
    }

    pub fn column(&self, name: &str) -> Option<(usize, &TableColumn)> {
        self.columns.iter().enumerate().find(|(_, column)| column.name == name)
    }
}

/// A column, or a value within a column that holds JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    pub column: String,
    /// Without steps, the column itself.
    pub path: JsonPath,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if matches!(self.path.0.first(), Some(crate::path::Step::Key(_))) { "." } else { "" };
        write!(f, "{}{dot}{}", self.column, self.path)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
}

/// What the reader wants of rows. It says how a table may read less: rows that meet it are given, others may be, so the
/// reader looks again.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The field is one of these.
    In(Field, Vec<Scalar>),
    /// The field is a number from the first to the second; `None`: there is no such bound.
    Between(Field, Option<f64>, Option<f64>),
    Present(Field),
    Absent(Field),
    /// Both are present, and they are different JSON values.
    Differ(Field, Field),
}

/// What is read of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableScan {
    /// Places of columns in the schema; those of the batches, in this order.
    pub columns: Vec<usize>,
    /// All of them.
    pub conditions: Vec<Condition>,
}

/// What an index makes quick to find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Indexed {
    /// Rows by a value: `=`, `IN`, and ranges of it.
    Field(Field),
    /// Rows in which two values differ: `<>` between them.
    Differ(Field, Field),
}

impl fmt::Display for Indexed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => field.fmt(f),
            Self::Differ(left, right) => write!(f, "{left} <> {right}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Step;

    #[test]
    fn a_field_is_shown_as_it_is_written() {
        let field = |column: &str, steps: &[Step]| Field { column: column.to_owned(), path: JsonPath(steps.into()) };
        let fw = [Step::Key("net".into()), Step::Key("fw".into()), Step::Index(0)];
        assert_eq!(field("reported", &fw).to_string(), "reported.net.fw[0]");
        assert_eq!(field("product", &[]).to_string(), "product");
        let differ = Indexed::Differ(field("reported", &fw[..1]), field("desired", &fw[..1]));
        assert_eq!(differ.to_string(), "reported.net <> desired.net");
        let written = serde_json::to_string(&differ).unwrap();
        assert_eq!(serde_json::from_str::<Indexed>(&written).unwrap(), differ);
    }
}

//! Operands: expressions whose type is known, and those that wait for one.

use arrow::datatypes::DataType;
use datafusion_expr::Expr;
use sqlparser::tokenizer::Location;

use crate::program::{ColumnType, JsonPath};

/// What an expression is before its surroundings have said what they want.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Typed(Typed),
    Open(Open),
}

/// An expression with its type.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    pub(crate) expr: Expr,
    pub(crate) data_type: DataType,
    /// The value is JSON text.
    pub(crate) is_json: bool,
}

/// An expression that takes whatever type is demanded of it.
#[derive(Debug, Clone)]
pub(crate) enum Open {
    Path(PathUse),
    /// `CASE` whose results are all open or NULL. Conditions are compared with the operand, if there is one.
    Case {
        operand: Option<Expr>,
        conditions: Vec<Expr>,
        results: Vec<Operand>,
        otherwise: Option<Box<Operand>>,
    },
    /// `coalesce` and its kin: the first that is not NULL.
    First(Vec<Operand>),
}

/// A path where it is written.
#[derive(Debug, Clone)]
pub(crate) struct PathUse {
    /// Where the path begins: in the payload, or in a column of a table.
    pub(crate) root: Root,
    pub(crate) path: JsonPath,
    pub(crate) place: Location,
    /// Written in double quotes without need; perhaps a text was meant.
    pub(crate) quoted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    Payload,
    /// The column at this place of the table that is this one of the query's.
    Column {
        table: usize,
        column: usize,
    },
}

/// What values can be compared and calculated with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Integer,
    Number,
    Text,
    Boolean,
    Time,
    Interval,
    Json,
    Other,
}

impl Typed {
    pub(crate) fn new(expr: Expr, data_type: DataType) -> Self {
        Self { expr, data_type, is_json: false }
    }

    pub(crate) fn boolean(expr: Expr) -> Self {
        Self::new(expr, DataType::Boolean)
    }

    pub(crate) fn kind(&self) -> Kind {
        if self.is_json { Kind::Json } else { Kind::of(&self.data_type) }
    }
}

impl Kind {
    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            data_type if data_type.is_integer() => Self::Integer,
            data_type if data_type.is_numeric() => Self::Number,
            DataType::Timestamp(..)
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_) => Self::Time,
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            _ => Self::Other,
        }
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Number)
    }

    /// As it stands in an error.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Integer | Self::Number => "a number",
            Self::Text => "a text",
            Self::Boolean => "true or false",
            Self::Time => "a time",
            Self::Interval => "an interval",
            Self::Json => "a JSON value of any type",
            Self::Other => "a list or a structure",
        }
    }

    /// What a path must be to stand beside a value of this kind.
    pub(crate) fn demand(self) -> Option<ColumnType> {
        match self {
            Self::Integer | Self::Number => Some(ColumnType::Number),
            Self::Text => Some(ColumnType::Text),
            Self::Boolean => Some(ColumnType::Boolean),
            Self::Null | Self::Time | Self::Interval | Self::Json | Self::Other => None,
        }
    }
}

impl Operand {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Takes every path in it that waits for a type.
    pub(crate) fn open_paths<'a>(&'a self, found: &mut Vec<&'a PathUse>) {
        match self {
            Self::Typed(_) => {}
            Self::Open(Open::Path(path)) => found.push(path),
            Self::Open(Open::Case { results, otherwise, .. }) => {
                results.iter().chain(otherwise.as_deref()).for_each(|operand| operand.open_paths(found));
            }
            Self::Open(Open::First(operands)) => operands.iter().for_each(|operand| operand.open_paths(found)),
        }
    }
}

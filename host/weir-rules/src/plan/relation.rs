//! What names are read against: the messages of a topic filter, and tables.

use weir_core::{
    TopicFilter,
    seams::{Catalog, SqlError},
    table::{TableColumn, TableSchema},
};

use super::{declared::Declared, operand::Typed};
use crate::{
    error::{Hint, Source, nearest},
    language::sources::{What, Written},
};

/// One source of a SELECT.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Relation<'a> {
    Messages {
        /// `t` in `FROM 'filter' AS t`.
        name: Option<&'a str>,
        filter: &'a TopicFilter,
        declared: Option<Declared<'a>>,
    },
    Table {
        name: &'a str,
        schema: &'a TableSchema,
        /// Which of the tables it is.
        number: usize,
    },
}

impl<'a> Relation<'a> {
    /// `number`: how many tables stand before it.
    pub(crate) fn of(
        source: &Source<'_>,
        written: &'a Written,
        catalog: &'a Catalog,
        number: usize,
    ) -> Result<Self, SqlError> {
        match &written.what {
            What::Messages(filter) => {
                Ok(Self::Messages { name: written.alias.as_deref(), filter, declared: Declared::of(filter, catalog) })
            }
            What::Table(table) => {
                let Some(schema) = catalog.tables.iter().find(|schema| schema.name == *table) else {
                    let near = nearest(table, catalog.tables.iter().map(|schema| schema.name.as_str()));
                    let error = source.error(written.place, format!("there is no table {table}"));
                    return Err(match near {
                        Some(near) => error.hint(format!("did you mean {near}?")),
                        None => error.hint(format!("topics stand in single quotes: FROM '{table}'")),
                    });
                };
                Ok(Self::Table { name: written.alias.as_deref().unwrap_or(table), schema, number })
            }
        }
    }

    pub(crate) fn name(&self) -> Option<&'a str> {
        match self {
            Self::Messages { name, .. } => *name,
            Self::Table { name, .. } => Some(name),
        }
    }

    /// By what the plan calls it.
    pub(crate) fn plan_name(&self) -> &'a str {
        match self {
            Self::Messages { name, filter, .. } => name.unwrap_or_else(|| filter.as_str()),
            Self::Table { name, .. } => name,
        }
    }
}

/// A column that a table does not have.
pub(super) fn no_column(schema: &TableSchema, written: &str) -> (String, String) {
    let names = || schema.columns.iter().map(|column| column.name.as_str());
    let hint = match nearest(written, names()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
    };
    (format!("{} has no column {written}", schema.name), hint)
}

/// How an error speaks of what a column holds.
pub(super) fn describe(column: &TableColumn) -> &'static str {
    Typed::new(datafusion_expr::lit(true), super::inputs::kind_type(column.kind)).kind().describe()
}

//! The schema that a product declares, where the source names one product.

use weir_core::{
    TopicFilter,
    seams::{Catalog, FieldType, SqlError},
};

use crate::{
    error::{Hint, Source, nearest},
    program::{ColumnType, JsonPath},
};
use sqlparser::tokenizer::Location;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared<'a> {
    product: &'a str,
    fields: &'a [(String, FieldType)],
}

impl<'a> Declared<'a> {
    /// The schema for the messages that `filter` matches; none if they may be of several products.
    pub(crate) fn of(filter: &'a TopicFilter, catalog: &'a Catalog) -> Option<Self> {
        let product = filter.as_str().split('/').next()?;
        let fields = catalog.schemas.get(&product.parse().ok()?).filter(|fields| !fields.is_empty())?;
        Some(Self { product, fields })
    }

    /// The declared type of a path. Parts of a declared JSON value have none, and so has what holds declared fields.
    pub(crate) fn field_type(
        &self,
        source: &Source<'_>,
        path: &JsonPath,
        place: Location,
    ) -> Result<Option<FieldType>, SqlError> {
        let name = path.to_string();
        if let Some((_, field_type)) = self.fields.iter().find(|(field, _)| *field == name) {
            return Ok(Some(*field_type));
        }
        let holds = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.') || rest.starts_with('['))
        };
        let known = self
            .fields
            .iter()
            .any(|(field, field_type)| (*field_type == FieldType::Json && holds(field, &name)) || holds(&name, field));
        if known {
            return Ok(None);
        }
        let near = nearest(&name, self.fields.iter().map(|(field, _)| field.as_str()));
        Err(source.error(place, format!("product {} declares no field {name}", self.product)).hint_nearest(near))
    }

    /// Refuses a use that a declared type can never meet.
    pub(crate) fn check(
        &self,
        source: &Source<'_>,
        path: &JsonPath,
        place: Location,
        demand: ColumnType,
    ) -> Result<(), SqlError> {
        let Some(declared) = self.field_type(source, path, place)? else { return Ok(()) };
        let (is, fits) = match declared {
            FieldType::Number | FieldType::Integer => {
                ("number", matches!(demand, ColumnType::Number | ColumnType::Integer))
            }
            FieldType::Text => ("text", demand == ColumnType::Text),
            FieldType::Boolean => ("boolean", demand == ColumnType::Boolean),
            FieldType::Json => return Ok(()),
        };
        if fits || matches!(demand, ColumnType::Json | ColumnType::Canonical) {
            return Ok(());
        }
        let wanted = match demand {
            ColumnType::Number => "a number",
            ColumnType::Integer => "an integer",
            ColumnType::Boolean => "true or false",
            _ => "a text",
        };
        let message = format!("{path} is used as {wanted}, but product {} declares it as {is}", self.product);
        Err(source.error(place, message))
    }
}

/// The column type that a declared type stands for.
pub(crate) fn column_type(field_type: FieldType) -> Option<ColumnType> {
    match field_type {
        FieldType::Number => Some(ColumnType::Number),
        FieldType::Integer => Some(ColumnType::Integer),
        FieldType::Text => Some(ColumnType::Text),
        FieldType::Boolean => Some(ColumnType::Boolean),
        FieldType::Json => None,
    }
}

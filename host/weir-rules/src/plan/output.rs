//! The columns of a SELECT and their names.

use sqlparser::{
    ast::{AccessExpr, Expr, ObjectNamePart},
    tokenizer::Location,
};
use weir_core::seams::SqlError;

use super::{operand::Typed, start, typing::Typing};
use crate::{error::Hint, language::select::Item, program::ColumnType};

/// A column with its name.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) typed: Typed,
}

/// Reads the columns of a rule; whether `*` is among them.
pub(super) fn columns(typing: &mut Typing<'_>, items: &[Item<'_>]) -> Result<(bool, Vec<Column>), SqlError> {
    let names = names(typing, items, &[])?;
    let mut star = false;
    let mut columns = Vec::new();
    for (item, name) in items.iter().zip(names) {
        match item {
            Item::Star(place) if star => {
                return Err(typing.source.error(*place, "* stands twice"));
            }
            Item::Star(_) => star = true,
            Item::Expression { expr, .. } => {
                columns.push(Column { name, typed: typing.column(expr, ColumnType::Json)? });
            }
        }
    }
    Ok((star, columns))
}

/// The name of each item: its alias, or what it is called where it comes from, with a number if that is taken.
/// `star` are the names of the columns of `*`.
pub(super) fn names(typing: &Typing<'_>, items: &[Item<'_>], star: &[&str]) -> Result<Vec<String>, SqlError> {
    let mut taken: Vec<String> = match items.iter().any(|item| matches!(item, Item::Star(_))) {
        true => star.iter().map(|name| (*name).to_owned()).collect(),
        false => Vec::new(),
    };
    for item in items {
        if let Item::Expression { alias: Some(alias), .. } = item {
            if taken.contains(&alias.value) {
                let error = typing.source.error(alias.span.start, format!("two columns are named {}", alias.value));
                return Err(error.hint("give one of them another name with AS"));
            }
            taken.push(alias.value.clone());
        }
    }
    let mut names = Vec::new();
    for item in items {
        names.push(match item {
            Item::Star(_) => String::new(),
            Item::Expression { alias: Some(alias), .. } => alias.value.clone(),
            Item::Expression { expr, alias: None } => {
                let base = own_name(expr);
                let mut name = base.clone();
                let mut number = 2;
                while taken.contains(&name) {
                    name = format!("{base}_{number}");
                    number += 1;
                }
                taken.push(name.clone());
                name
            }
        });
    }
    Ok(names)
}

/// The expressions of the columns by their names.
pub(super) fn named<'a>(
    typing: &Typing<'_>,
    items: &[Item<'a>],
    star: &[&str],
) -> Result<Vec<(String, &'a Expr)>, SqlError> {
    let names = names(typing, items, star)?;
    Ok(items
        .iter()
        .zip(names)
        .filter_map(|(item, name)| match item {
            Item::Expression { expr, .. } => Some((name, *expr)),
            Item::Star(_) => None,
        })
        .collect())
}

/// The expressions of columns that have been read, by their names.
pub(super) fn named_columns(columns: &[Column], items: &[Item<'_>]) -> Vec<(String, Expr)> {
    let expressions = items.iter().filter_map(|item| match item {
        Item::Expression { expr, .. } => Some((*expr).clone()),
        Item::Star(_) => None,
    });
    columns.iter().map(|column| column.name.clone()).zip(expressions).collect()
}

/// What an expression is called without an alias: the last word of a path, or the function.
fn own_name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| ident.value.clone()).unwrap_or_default(),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let last = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some(ident.value.clone()),
                _ => None,
            });
            last.unwrap_or_else(|| own_name(root))
        }
        Expr::Function(function) => match function.name.0.last() {
            Some(ObjectNamePart::Identifier(ident)) => ident.value.clone(),
            _ => "column".to_owned(),
        },
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => own_name(inner),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Extract { field, .. } => field.to_string().to_lowercase(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Trim { .. } => "trim".to_owned(),
        Expr::Overlay { .. } => "overlay".to_owned(),
        _ => "column".to_owned(),
    }
}

/// Where an item begins.
pub(super) fn place(item: &Item<'_>) -> Location {
    match item {
        Item::Star(place) => *place,
        Item::Expression { expr, .. } => start(expr),
    }
}

//! What a SELECT may say: its sources, and the clauses that rules or queries know.
//!
//! This looks at clauses only; names and types in expressions are for planning.

use sqlparser::{
    ast::{
        Distinct, Expr, GroupByExpr, Ident, LimitClause, ObjectNamePart, OrderByExpr, OrderByKind, Query, Select,
        SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, WildcardAdditionalOptions,
    },
    tokenizer::Location,
};
use weir_core::seams::SqlError;

use super::{
    sources::{Sources, sources},
    window::is_windowed,
};
use crate::error::{Hint, Source};

/// What the SELECT is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Evaluated message by message.
    Rule,
    /// Run once over past messages.
    Query,
}

/// A SELECT, clause by clause.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) sources: Sources<'a>,
    pub(crate) distinct: bool,
    pub(crate) items: Vec<Item<'a>>,
    pub(crate) predicate: Option<&'a Expr>,
    pub(crate) group_by: &'a [Expr],
    pub(crate) having: Option<&'a Expr>,
    pub(crate) order_by: &'a [OrderByExpr],
    pub(crate) limit: Option<&'a Expr>,
    pub(crate) offset: Option<&'a Expr>,
}

#[derive(Debug)]
pub(crate) enum Item<'a> {
    Star(Location),
    Expression { expr: &'a Expr, alias: Option<&'a Ident> },
}

/// Takes a SELECT apart, refusing what `purpose` does not know.
pub(crate) fn selection<'a>(
    source: &Source<'_>,
    query: &'a Query,
    purpose: Purpose,
) -> Result<Selection<'a>, SqlError> {
    let sources = sources(source, query, purpose)?;
    let select = plain_select(source, query)?;
    let place = select.select_token.0.span.start;
    unsupported(source, query, select)?;

    let group_by = match &select.group_by {
        GroupByExpr::Expressions(expressions, modifiers) if modifiers.is_empty() => expressions.as_slice(),
        _ => return Err(not_supported(source, place, "this form of GROUP BY")),
    };
    let order_by = match query.order_by.as_ref().map(|order| &order.kind) {
        None => &[],
        Some(OrderByKind::Expressions(expressions)) => expressions.as_slice(),
        Some(OrderByKind::All(_)) => return Err(not_supported(source, place, "ORDER BY ALL")),
    };
    let (limit, offset) = match &query.limit_clause {
        None => (None, None),
        Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
            (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
        }
        Some(_) => return Err(not_supported(source, place, "this form of LIMIT")),
    };
    let distinct = match &select.distinct {
        None | Some(Distinct::All) => false,
        Some(Distinct::Distinct) => true,
        Some(Distinct::On(_)) => return Err(not_supported(source, place, "DISTINCT ON")),
    };
    if purpose == Purpose::Rule {
        let windowed = is_windowed(query);
        let grouped = [("GROUP BY", group_by.first().map(start)), ("HAVING", select.having.as_ref().map(start))];
        if let Some((clause, Some(place))) = grouped.into_iter().find(|(_, place)| place.is_some() && !windowed) {
            return Err(needs_window(source, place, clause));
        }
        let whole = [
            ("DISTINCT", distinct.then_some(place)),
            ("ORDER BY", order_by.first().map(|order| start(&order.expr))),
            ("LIMIT", limit.or(offset).map(start)),
        ];
        if let Some((clause, Some(place))) = whole.into_iter().find(|(_, place)| place.is_some()) {
            return Err(message_by_message(source, place, clause));
        }
    }
    // With several sources no name stands for all that is selected.
    let name = sources.first.name().filter(|_| sources.joined.is_empty());
    let items = select.projection.iter().map(|item| self::item(source, item, name, place));
    Ok(Selection {
        items: items.collect::<Result<_, _>>()?,
        sources,
        distinct,
        predicate: select.selection.as_ref(),
        group_by,
        having: select.having.as_ref(),
        order_by,
        limit,
        offset,
    })
}

/// Where an expression begins.
pub(crate) fn start(expr: &Expr) -> Location {
    expr.span().start
}

/// `what` looks at all rows, and those of a rule have no end.
pub(crate) fn message_by_message(source: &Source<'_>, place: Location, what: &str) -> SqlError {
    source
        .error(place, format!("the rows of a rule have no end, so it cannot have {what}"))
        .hint("use weir query for summaries of past messages")
}

/// `what` looks at several messages, and nothing says at which.
pub(crate) fn needs_window(source: &Source<'_>, place: Location, what: &str) -> SqlError {
    source
        .error(place, format!("the messages of a rule have no end, so {what} needs a window"))
        .hint("add one to GROUP BY, such as tumble('1 minute'), or use weir query for summaries of past messages")
}

pub(super) fn not_supported(source: &Source<'_>, place: Location, what: &str) -> SqlError {
    source.error(place, format!("{what} is not supported"))
}

pub(super) fn plain_select<'a>(source: &Source<'_>, query: &'a Query) -> Result<&'a Select, SqlError> {
    let place = query.span().start;
    match query.body.as_ref() {
        SetExpr::Select(select) => Ok(select),
        SetExpr::SetOperation { op, .. } => {
            Err(not_supported(source, place, &op.to_string()).hint("write each SELECT on its own"))
        }
        _ => Err(source.error(place, "expected SELECT")),
    }
}

fn unsupported(source: &Source<'_>, query: &Query, select: &Select) -> Result<(), SqlError> {
    let clauses = [
        ("WITH", query.with.is_some()),
        ("FETCH", query.fetch.is_some()),
        ("FOR", query.for_clause.is_some() || !query.locks.is_empty()),
        ("TOP", select.top.is_some()),
        ("INTO", select.into.is_some()),
        ("LATERAL VIEW", !select.lateral_views.is_empty()),
        ("PREWHERE", select.prewhere.is_some()),
        ("CONNECT BY", !select.connect_by.is_empty()),
        ("CLUSTER BY", !select.cluster_by.is_empty()),
        ("DISTRIBUTE BY", !select.distribute_by.is_empty()),
        ("SORT BY", !select.sort_by.is_empty()),
        ("WINDOW", !select.named_window.is_empty()),
        ("QUALIFY", select.qualify.is_some()),
        ("SELECT AS", select.value_table_mode.is_some()),
        ("EXCLUDE", select.exclude.is_some()),
        ("a pipe", !query.pipe_operators.is_empty()),
    ];
    match clauses.iter().find(|(_, present)| *present) {
        Some((clause, _)) => Err(not_supported(source, query.span().start, clause)),
        None => Ok(()),
    }
}

fn item<'a>(
    source: &Source<'_>,
    item: &'a SelectItem,
    table: Option<&str>,
    select: Location,
) -> Result<Item<'a>, SqlError> {
    let star = |options: &WildcardAdditionalOptions| {
        let plain = WildcardAdditionalOptions { wildcard_token: options.wildcard_token.clone(), ..Default::default() };
        let place = options.wildcard_token.0.span.start;
        if *options == plain { Ok(Item::Star(place)) } else { Err(not_supported(source, place, "* with changes")) }
    };
    match item {
        SelectItem::UnnamedExpr(expr) => Ok(Item::Expression { expr, alias: None }),
        SelectItem::ExprWithAlias { expr, alias } => Ok(Item::Expression { expr, alias: Some(alias) }),
        SelectItem::Wildcard(options) => star(options),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
            match name.0.as_slice() {
                [ObjectNamePart::Identifier(ident)] if Some(ident.value.as_str()) == table => star(options),
                _ => Err(source
                    .error(name.span().start, format!("{name}.* is not supported"))
                    .hint("* is the whole payload; a path such as a.b takes one part of it")),
            }
        }
        SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => {
            Err(not_supported(source, select, "this form of a column"))
        }
    }
}

//! What stands behind FROM: topic filters, tables, and how they are joined.

use sqlparser::{
    ast::{Expr, JoinConstraint, JoinOperator, ObjectNamePart, Query, Select, Spanned, TableFactor},
    tokenizer::{Location, Token, Tokenizer},
};
use weir_core::{TopicFilter, seams::SqlError};

use super::{
    dialect::RuleDialect,
    select::{Purpose, not_supported, plain_select},
};
use crate::error::{Hint, Source};

/// Sources of one query. Each is read by a thread of its own while the query runs.
const MAX_SOURCES: usize = 4;

/// Tables that there are; what a rule author may have meant.
const TABLES: [&str; 2] = ["devices", "shadows"];

#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) first: Written,
    pub(crate) joined: Vec<Joined<'a>>,
}

/// A source as it is written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) what: What,
    pub(crate) alias: Option<String>,
    pub(crate) place: Location,
}

#[derive(Debug)]
pub(crate) enum What {
    Messages(TopicFilter),
    Table(String),
}

#[derive(Debug)]
pub(crate) struct Joined<'a> {
    pub(crate) kind: JoinKind,
    pub(crate) source: Written,
    pub(crate) on: &'a Expr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
}

impl Sources<'_> {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Written> {
        std::iter::once(&self.first).chain(self.joined.iter().map(|joined| &joined.source))
    }
}

impl Written {
    /// What qualifies its names.
    pub(crate) fn name(&self) -> Option<&str> {
        match (&self.alias, &self.what) {
            (Some(alias), _) => Some(alias),
            (None, What::Table(name)) => Some(name),
            (None, What::Messages(_)) => None,
        }
    }
}

pub(crate) fn sources<'a>(source: &Source<'_>, query: &'a Query, purpose: Purpose) -> Result<Sources<'a>, SqlError> {
    let select = plain_select(source, query)?;
    let place = select.select_token.0.span.start;
    if purpose == Purpose::Rule {
        check_rule(source, select)?;
    }
    let from = match select.from.as_slice() {
        [] => return Err(no_from(source, place)),
        [from] => from,
        [_, second, ..] => {
            return Err(not_supported(source, second.span().start, "a comma between sources")
                .hint("write JOIN … ON … for sources that belong together"));
        }
    };
    let first = written(source, &from.relation, place, purpose)?;
    let mut joined = Vec::new();
    for join in &from.joins {
        let place = join.relation.span().start;
        let (kind, constraint) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (JoinKind::Inner, constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (JoinKind::Left, constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => (JoinKind::Right, constraint),
            JoinOperator::FullOuter(constraint) => (JoinKind::Full, constraint),
            _ => return Err(not_supported(source, place, "this kind of JOIN").hint("write JOIN … ON …")),
        };
        if purpose == Purpose::Rule && !matches!(kind, JoinKind::Inner | JoinKind::Left) {
            let error = source.error(place, "a rule makes rows of messages, so it cannot join what has none");
            return Err(error.hint("write JOIN or LEFT JOIN"));
        }
        let JoinConstraint::On(on) = constraint else {
            return Err(not_supported(source, place, "a JOIN without ON").hint("say which rows belong together: ON …"));
        };
        // What is joined may be a table, in a rule as in a query.
        joined.push(Joined { kind, source: written(source, &join.relation, place, Purpose::Query)?, on });
    }
    let sources = Sources { first, joined };
    check_several(source, &sources)?;
    Ok(sources)
}

/// Several sources are told apart by their names, and one of them may be messages.
fn check_several(source: &Source<'_>, sources: &Sources<'_>) -> Result<(), SqlError> {
    if sources.joined.is_empty() {
        return Ok(());
    }
    if let Some(beyond) = sources.all().nth(MAX_SOURCES) {
        return Err(source.error(beyond.place, format!("a query may have {MAX_SOURCES} sources")));
    }
    let mut names = Vec::new();
    let mut has_messages = false;
    for written in sources.all() {
        if matches!(written.what, What::Messages(_)) && std::mem::replace(&mut has_messages, true) {
            return Err(not_supported(source, written.place, "a second topic filter")
                .hint("one topic filter can match many topics: + stands for one level, # for all that follow"));
        }
        let Some(name) = written.name() else {
            return Err(source
                .error(written.place, "the topic filter needs a name beside other sources")
                .hint("write FROM 'A1B2C3D4E5/+/event' AS m, and m.temp for a field"));
        };
        if names.contains(&name) {
            let error = source.error(written.place, format!("two sources are named {name}"));
            return Err(error.hint("give one of them another name with AS"));
        }
        names.push(name);
    }
    Ok(())
}

/// A rule reads one topic filter.
fn check_rule(source: &Source<'_>, select: &Select) -> Result<(), SqlError> {
    let place = select.select_token.0.span.start;
    match select.from.as_slice() {
        [_, _, ..] => Err(not_supported(source, place, "reading several sources at once")
            .hint("one topic filter can match many topics: + stands for one level, # for all that follow")),
        _ => Ok(()),
    }
}

fn no_from(source: &Source<'_>, place: Location) -> SqlError {
    source.error(place, "the SELECT has no FROM").hint("name the topics it reads, such as FROM 'A1B2C3D4E5/+/event'")
}

fn written(
    source: &Source<'_>,
    relation: &TableFactor,
    place: Location,
    purpose: Purpose,
) -> Result<Written, SqlError> {
    let TableFactor::Table { name, alias, args: None, .. } = relation else {
        return Err(source.error(place, "FROM takes a topic filter in single quotes").hint("such as FROM 'devices/#'"));
    };
    let (what, place) = match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] if ident.quote_style.is_some() => {
            let text = &ident.value;
            let place = filter_place(source, text).unwrap_or(ident.span.start);
            let filter =
                text.parse().map_err(|error| source.error(place, format!("topic filter '{text}': {error}")))?;
            (What::Messages(filter), place)
        }
        [ObjectNamePart::Identifier(ident)] if purpose == Purpose::Query => {
            (What::Table(ident.value.clone()), ident.span.start)
        }
        [ObjectNamePart::Identifier(ident)] if TABLES.contains(&ident.value.as_str()) => {
            let error = source.error(ident.span.start, format!("a rule reads messages, and {name} is a table"));
            return Err(error.hint("weir query reads tables; FROM '$shadow/changed/#' are the changes of shadows"));
        }
        parts => {
            let place = parts.first().map_or(place, |part| part.span().start);
            return Err(source
                .error(place, "FROM takes a topic filter in single quotes")
                .hint(format!("write FROM '{name}'")));
        }
    };
    match alias {
        Some(alias) if !alias.columns.is_empty() => Err(not_supported(source, place, "an alias with columns")),
        Some(alias) => Ok(Written { what, alias: Some(alias.name.value.clone()), place }),
        None => Ok(Written { what, alias: None, place }),
    }
}

/// sqlparser forgets where a name in single quotes stood.
fn filter_place(source: &Source<'_>, text: &str) -> Option<Location> {
    let tokens = Tokenizer::new(&RuleDialect, source.text).tokenize_with_location().ok()?;
    let mut begins = false;
    tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).find_map(|token| {
        let matches = begins && matches!(&token.token, Token::SingleQuotedString(other) if other == text);
        let is = |word: &str| matches!(&token.token, Token::Word(other) if other.value.eq_ignore_ascii_case(word));
        begins = is("FROM") || is("JOIN");
        matches.then_some(token.span.start)
    })
}

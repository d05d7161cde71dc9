//! The rule language: scripts to statements.
//!
//! Texts are split by sqlparser's tokenizer and read by its parser, so that quotes and comments mean everywhere what
//! they mean in SQL. What a SELECT may say is checked in [`select`]; what its names and types mean is for planning.

pub(crate) mod dialect;
mod grant;
mod index;
mod seam;
pub(crate) mod select;
pub(crate) mod setting;
pub(crate) mod sources;
pub(crate) mod statement;
pub(crate) mod syntax;
pub(crate) mod window;

use sqlparser::{
    ast::Query,
    parser::Parser,
    tokenizer::{Token, TokenWithSpan, Tokenizer},
};
use weir_core::{seams::SqlError, statement::Statement};

pub use self::seam::SqlLanguage;
use self::{
    dialect::RuleDialect,
    statement::{Parsed, ParsedRule, Reader},
};
use crate::{
    error::{Hint, Source},
    stack::with_room,
};

/// Words and signs of one statement. Beyond it reading could need more stack than there is.
const MAX_TOKENS: usize = 10_000;

/// Reads a script: statements separated by semicolons.
pub fn parse(script: &str) -> Result<Vec<Statement>, SqlError> {
    let statement = |parsed| match parsed {
        Parsed::Rule(rule) => Statement::CreateRule(rule.definition),
        Parsed::Other(statement) => *statement,
    };
    with_room(|| Ok(parse_script(script)?.into_iter().map(statement).collect()))
}

fn parse_script(script: &str) -> Result<Vec<Parsed>, SqlError> {
    let source = Source::script(script);
    let tokens = tokenize(&source)?;
    let statements = tokens.split(|token| token.token == Token::SemiColon);
    statements.filter_map(|tokens| statement::parse(&source, tokens.to_vec()).transpose()).collect()
}

/// Reads the text of a rule again, for planning.
pub(crate) fn parse_rule(text: &str) -> Result<Box<ParsedRule>, SqlError> {
    match parse_script(text)?.pop() {
        Some(Parsed::Rule(rule)) => Ok(rule),
        _ => Err(Source::script(text).error(Source::script(text).end(), "expected CREATE RULE")),
    }
}

/// Reads a lone SELECT; a semicolon may follow it.
pub(crate) fn parse_select(text: &str) -> Result<Box<Query>, SqlError> {
    let source = Source::script(text);
    let mut tokens = tokenize(&source)?;
    if let Some(last) = tokens.iter().rposition(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        && tokens.get(last).is_some_and(|token| token.token == Token::SemiColon)
    {
        tokens.truncate(last);
    }
    let parser = Parser::new(&RuleDialect).with_tokens_with_locations(tokens);
    let mut reader = Reader { source: &source, parser, end: source.end() };
    let query = reader.query()?;
    reader.finish()?;
    Ok(query)
}

fn tokenize(source: &Source<'_>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let tokens = Tokenizer::new(&RuleDialect, source.text)
        .tokenize_with_location()
        .map_err(|error| syntax::tokenizer_error(source, &error))?;
    for statement in tokens.split(|token| token.token == Token::SemiColon) {
        let mut written = statement.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
        if let Some(token) = written.nth(MAX_TOKENS) {
            let message = format!("the statement has more than {MAX_TOKENS} words and signs");
            return Err(source.error(token.span.start, message).hint("split it into several rules"));
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;

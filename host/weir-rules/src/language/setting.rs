//! Settings of actions and sinks, and the `${…}` in them.

use sqlparser::{
    ast::Expr,
    parser::Parser,
    tokenizer::{Location, Span, Token, Tokenizer},
};
use weir_core::{seams::SqlError, statement::Setting};

use super::{dialect::RuleDialect, statement::Reader, syntax};
use crate::error::{Hint, Source};

/// Settings with the places of their values.
type Settings = (Vec<(String, Setting)>, Vec<Location>);

/// `name => value, …)`, behind the opening parenthesis; sinks write `=` for `=>`.
pub(crate) fn settings(reader: &mut Reader<'_>, arrow: &Token) -> Result<Settings, SqlError> {
    let (mut settings, mut places) = (Vec::<(String, Setting)>::new(), Vec::new());
    if reader.parser.consume_token(&Token::RParen) {
        return Ok((settings, places));
    }
    loop {
        let name_place = reader.place();
        let name = reader.word("the name of a setting")?.value;
        if settings.iter().any(|(other, _)| *other == name) {
            return Err(reader.source.error(name_place, format!("setting {name} is given twice")));
        }
        if !reader.parser.consume_token(arrow) {
            return Err(reader.unexpected(&arrow.to_string()).hint(format!("write {name} {arrow} value")));
        }
        places.push(reader.place());
        let value = value(reader)?;
        settings.push((name, value));
        if reader.parser.consume_token(&Token::RParen) {
            return Ok((settings, places));
        }
        if !reader.parser.consume_token(&Token::Comma) {
            return Err(reader.unexpected(", or )"));
        }
    }
}

fn value(reader: &mut Reader<'_>) -> Result<Setting, SqlError> {
    const EXPECTED: &str = "a text in single quotes, a number, true, false or secret('NAME')";
    let place = reader.place();
    let sign = if reader.parser.consume_token(&Token::Minus) { "-" } else { "" };
    let token = reader.parser.peek_token_ref().token.clone();
    match token {
        Token::Number(number, _) => {
            reader.parser.advance_token();
            Ok(Setting::Literal(format!("{sign}{number}")))
        }
        Token::SingleQuotedString(text) if sign.is_empty() => {
            reader.parser.advance_token();
            if !text.contains("${") {
                return Ok(Setting::Literal(text));
            }
            split(&Located::literal(reader.source, place), reader.source)?;
            Ok(Setting::Template(text))
        }
        Token::Word(word) if sign.is_empty() && word.quote_style.is_none() => {
            match reader.keyword(&["TRUE", "FALSE", "SECRET"]) {
                Some("TRUE") => Ok(Setting::Literal("true".to_owned())),
                Some("FALSE") => Ok(Setting::Literal("false".to_owned())),
                Some(_) => secret(reader),
                None => Err(reader.unexpected(EXPECTED)),
            }
        }
        Token::Word(_) => Err(reader.unexpected(EXPECTED).hint("texts stand in single quotes, names in double quotes")),
        _ => Err(reader.unexpected(EXPECTED)),
    }
}

fn secret(reader: &mut Reader<'_>) -> Result<Setting, SqlError> {
    const FORM: &str = "write secret('NAME')";
    if !reader.parser.consume_token(&Token::LParen) {
        return Err(reader.unexpected("(").hint(FORM));
    }
    let place = reader.place();
    let Token::SingleQuotedString(name) = reader.parser.peek_token_ref().token.clone() else {
        return Err(reader.unexpected("the name of a secret in single quotes").hint(FORM));
    };
    reader.parser.advance_token();
    if !reader.parser.consume_token(&Token::RParen) {
        return Err(reader.unexpected(")").hint(FORM));
    }
    let name = name.parse().map_err(|error: weir_core::ids::InvalidName| reader.source.error(place, error.to_string()));
    Ok(Setting::Secret(name?))
}

/// A text whose characters know their places in a script.
pub(crate) struct Located {
    characters: Vec<(char, Location)>,
}

impl Located {
    /// The content of the literal that begins at `place`.
    pub(crate) fn literal(source: &Source<'_>, mut place: Location) -> Self {
        let mut characters = Vec::new();
        let mut rest = source.text.get(source.byte(place)..).unwrap_or_default().chars().skip(1).peekable();
        place.column += 1;
        while let Some(character) = rest.next() {
            let here = place;
            place.column += 1;
            match character {
                // A doubled quote is one.
                '\'' if rest.peek() == Some(&'\'') => {
                    rest.next();
                    place.column += 1;
                }
                '\'' => break,
                '\n' => place = Location { line: place.line + 1, column: 1 },
                _ => {}
            }
            characters.push((character, here));
        }
        Self { characters }
    }

    /// A text that is the whole source.
    pub(crate) fn text(text: &str) -> Self {
        let mut place = Location { line: 1, column: 1 };
        let locate = |character| {
            let here = place;
            place = match character {
                '\n' => Location { line: place.line + 1, column: 1 },
                _ => Location { line: place.line, column: place.column + 1 },
            };
            (character, here)
        };
        Self { characters: text.chars().map(locate).collect() }
    }
}

/// A part of a setting with `${…}`.
#[derive(Debug)]
pub(crate) enum Part {
    Literal(String),
    Expression(Box<Expr>, Location),
}

/// The parts of a setting: texts, and the expressions between `${` and `}`.
pub(crate) fn split(template: &Located, source: &Source<'_>) -> Result<Vec<Part>, SqlError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = template.characters.as_slice();
    while let Some(((character, place), tail)) = rest.split_first() {
        if (*character, tail.first().map(|(next, _)| *next)) != ('$', Some('{')) {
            literal.push(*character);
            rest = tail;
            continue;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        let inner = tail.get(1..).unwrap_or_default();
        let Some(length) = closing_brace(inner) else {
            return Err(source.error(*place, "${ has no closing }"));
        };
        let inner_text = inner.get(..length).unwrap_or_default();
        parts.push(Part::Expression(Box::new(expression(inner_text, *place, source)?), *place));
        rest = inner.get(length + 1..).unwrap_or_default();
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// The `}` that ends an expression: not one in quotes.
fn closing_brace(inner: &[(char, Location)]) -> Option<usize> {
    let mut quote = None;
    inner.iter().position(|(character, _)| {
        match (quote, character) {
            (None, '}') => return true,
            (None, '\'' | '"') => quote = Some(*character),
            (Some(open), character) if open == *character => quote = None,
            _ => {}
        }
        false
    })
}

fn expression(inner: &[(char, Location)], place: Location, source: &Source<'_>) -> Result<Expr, SqlError> {
    let text: String = inner.iter().map(|(character, _)| character).collect();
    if text.trim().is_empty() {
        return Err(source.error(place, "${} is empty").hint("write a name or an expression, such as ${msg.device}"));
    }
    let own = Located::text(&text);
    let end = inner.last().map_or(place, |(_, place)| Location { column: place.column + 1, ..*place });
    let outer = |location: Location| {
        let index = own.characters.partition_point(|(_, place)| *place < location);
        inner.get(index).map_or(end, |(_, place)| *place)
    };
    let mut tokens = Tokenizer::new(&RuleDialect, &text).tokenize_with_location().map_err(|mut error| {
        error.location = outer(error.location);
        syntax::tokenizer_error(source, &error)
    })?;
    for token in &mut tokens {
        token.span = Span::new(outer(token.span.start), outer(token.span.end));
    }
    let parser = Parser::new(&RuleDialect).with_tokens_with_locations(tokens);
    let mut reader = Reader { source, parser, end };
    let expression = reader.parser.parse_expr().map_err(|error| syntax::parser_error(source, &error, end))?;
    match reader.parser.peek_token_ref().token {
        Token::EOF => Ok(expression),
        _ => Err(reader.unexpected("} behind the expression")),
    }
}

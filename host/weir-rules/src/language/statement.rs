//! One statement of a script: `CREATE RULE`, `CREATE SINK`, `CREATE INDEX`, `DROP`, `ENABLE`, `DISABLE`.

use sqlparser::{
    ast::{Expr, Query},
    parser::Parser,
    tokenizer::{Location, Token, TokenWithSpan, Word},
};
use weir_core::{
    seams::SqlError,
    statement::{ActionDefinition, RuleDefinition, SinkDefinition, StartFrom, Statement},
};

use super::{
    dialect::RuleDialect,
    grant,
    select::Purpose,
    setting,
    sources::{self, What},
    syntax, window,
};
use crate::error::{Hint, Source, nearest};

/// A statement with the parts that its stored form does not keep.
#[derive(Debug)]
pub(crate) enum Parsed {
    Rule(Box<ParsedRule>),
    Other(Box<Statement>),
}

impl Parsed {
    pub(super) fn other(statement: Statement) -> Self {
        Self::Other(Box::new(statement))
    }
}

#[derive(Debug)]
pub(crate) struct ParsedRule {
    pub(crate) definition: RuleDefinition,
    pub(crate) query: Box<Query>,
    /// Where the values of the settings stand: for each action, for the error target behind them.
    pub(crate) places: Vec<Vec<Location>>,
    pub(crate) time: TimeClauses,
}

/// What a rule says of the time of its messages, each with its place.
#[derive(Debug, Default)]
pub(crate) struct TimeClauses {
    pub(crate) event_time: Option<EventTime>,
    pub(crate) lateness: Option<(String, Location)>,
    pub(crate) on_late: Option<Location>,
}

/// `EVENT TIME ts UNIT 'ms'`
#[derive(Debug)]
pub(crate) struct EventTime {
    pub(crate) expr: Expr,
    pub(crate) unit: Option<(String, Location)>,
    pub(crate) place: Location,
}

/// Reads one statement from its tokens.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) parser: Parser<'a>,
    /// Behind the last token.
    pub(crate) end: Location,
}

/// `tokens` hold one statement without its semicolon.
pub(crate) fn parse(source: &Source<'_>, tokens: Vec<TokenWithSpan>) -> Result<Option<Parsed>, SqlError> {
    let written: Vec<_> = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    let (Some(first), Some(last)) = (written.first(), written.last()) else { return Ok(None) };
    let (start, end) = (first.span.start, last.span.end);
    let text = source.text.get(source.byte(start)..source.byte(end)).unwrap_or_default().to_owned();
    let parser = Parser::new(&RuleDialect).with_tokens_with_locations(tokens);
    let mut reader = Reader { source, parser, end };
    let parsed = reader.statement(text)?;
    reader.finish()?;
    Ok(Some(parsed))
}

impl Reader<'_> {
    fn statement(&mut self, text: String) -> Result<Parsed, SqlError> {
        const STATEMENTS: [&str; 4] = ["CREATE", "DROP", "ENABLE", "DISABLE"];
        match self.keyword(&STATEMENTS) {
            Some("CREATE") => match self.keyword(&["RULE", "SINK", "INDEX", "OR"]) {
                Some("RULE") => self.create_rule(text),
                Some("SINK") => self.create_sink(text),
                Some("INDEX") => self.create_index(text),
                Some(_) => {
                    Err(self.unexpected("RULE, SINK or INDEX").hint("CREATE RULE replaces a rule of the same name"))
                }
                None => Err(self.expected_word(&["RULE", "SINK", "INDEX"])),
            },
            Some("DROP") => match self.keyword(&["RULE", "SINK", "INDEX"]) {
                Some("RULE") => Ok(Parsed::other(Statement::DropRule(self.name()?))),
                Some("SINK") => Ok(Parsed::other(Statement::DropSink(self.name()?))),
                Some(_) => Ok(Parsed::other(Statement::DropIndex(self.name()?))),
                None => Err(self.expected_word(&["RULE", "SINK", "INDEX"])),
            },
            Some(verb) => {
                if self.keyword(&["RULE"]).is_none() {
                    return Err(self.expected_word(&["RULE"]));
                }
                let name = self.name()?;
                let enable = verb == "ENABLE";
                Ok(Parsed::other(if enable { Statement::EnableRule(name) } else { Statement::DisableRule(name) }))
            }
            None if self.peeked_word().is_some_and(|word| word.value.eq_ignore_ascii_case("SELECT")) => Err(self
                .unexpected("CREATE RULE or another statement")
                .hint("put CREATE RULE name TO action AS before it, or run it with weir query")),
            None => Err(self.expected_word(&STATEMENTS)),
        }
    }

    fn create_rule(&mut self, text: String) -> Result<Parsed, SqlError> {
        let name = self.name()?;
        if self.keyword(&["TO"]).is_none() {
            return Err(self.expected_word(&["TO"]));
        }
        let (mut actions, mut places) = (Vec::new(), Vec::new());
        loop {
            let (action, place) = self.action()?;
            actions.push(action);
            places.push(place);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        let mut on_error = None;
        let mut on_late = None;
        let mut start = None;
        let mut time = TimeClauses::default();
        loop {
            let place = self.place();
            match self.keyword(&["ON", "START", "EVENT", "LATENESS", "AS"]) {
                Some("ON") => match self.keyword(&["ERROR", "LATE"]) {
                    Some("ERROR") if on_error.is_none() => {
                        self.words(&["TO"])?;
                        let (action, place) = self.action()?;
                        on_error = Some(action);
                        places.push(place);
                    }
                    Some("LATE") if on_late.is_none() => {
                        self.words(&["TO"])?;
                        time.on_late = Some(place);
                        on_late = Some(self.action()?.0);
                    }
                    Some(word) => return Err(self.source.error(place, format!("ON {word} TO stands twice"))),
                    None => return Err(self.expected_word(&["ERROR TO", "LATE TO"])),
                },
                Some("EVENT") if time.event_time.is_none() => time.event_time = Some(self.event_time(place)?),
                Some("LATENESS") if time.lateness.is_none() => {
                    time.lateness = Some(self.text("a time in single quotes, such as '30 seconds'")?);
                }
                Some("START") if start.is_none() => {
                    self.words(&["FROM"])?;
                    start = match self.keyword(&["NOW", "BEGINNING"]) {
                        Some("NOW") => Some(StartFrom::Now),
                        Some(_) => Some(StartFrom::Beginning),
                        None => return Err(self.expected_word(&["NOW", "BEGINNING"])),
                    };
                }
                Some("AS") => break,
                Some(word) => return Err(self.source.error(place, format!("{word} stands twice"))),
                None => {
                    let clauses = ["ON ERROR TO", "EVENT TIME", "LATENESS", "ON LATE TO", "START FROM", "AS"];
                    return Err(self.expected_word(&clauses));
                }
            }
        }
        let query = self.query()?;
        self.finish()?;
        let written = sources::sources(self.source, &query, Purpose::Rule)?;
        let (mut sources, mut tables) = (Vec::new(), Vec::new());
        for written in written.all() {
            match &written.what {
                What::Messages(filter) => sources.push(filter.clone()),
                What::Table(table) => tables.push(table.clone()),
            }
        }
        let windowed = window::is_windowed(&query);
        let start = start.unwrap_or_default();
        let definition = RuleDefinition { name, text, sources, tables, actions, on_error, windowed, on_late, start };
        Ok(Parsed::Rule(Box::new(ParsedRule { definition, query, places, time })))
    }

    /// `TIME expression [UNIT 'ms']`, behind `EVENT`.
    fn event_time(&mut self, place: Location) -> Result<EventTime, SqlError> {
        self.words(&["TIME"])?;
        let expr = self.parser.parse_expr().map_err(|error| syntax::parser_error(self.source, &error, self.end))?;
        let unit = match self.keyword(&["UNIT"]) {
            Some(_) => Some(self.text("a unit in single quotes: 's', 'ms', 'us' or 'ns'")?),
            None => None,
        };
        Ok(EventTime { expr, unit, place })
    }

    /// A text in single quotes, and where it stands.
    fn text(&mut self, expected: &str) -> Result<(String, Location), SqlError> {
        let place = self.place();
        let Token::SingleQuotedString(text) = self.parser.peek_token_ref().token.clone() else {
            return Err(self.unexpected(expected));
        };
        self.parser.advance_token();
        Ok((text, place))
    }

    fn create_sink(&mut self, text: String) -> Result<Parsed, SqlError> {
        let name = self.name()?;
        if self.keyword(&["USING"]).is_none() {
            return Err(self.expected_word(&["USING"]));
        }
        let kind = self.target()?;
        let mut settings = Vec::new();
        if self.keyword(&["WITH"]).is_some() {
            if !self.parser.consume_token(&Token::LParen) {
                return Err(self.unexpected("("));
            }
            settings = setting::settings(self, &Token::Eq)?.0;
        }
        let grants = grant::grants(self)?;
        Ok(Parsed::other(Statement::CreateSink(SinkDefinition { name, text, kind, settings, grants })))
    }

    /// `kind(name => value, …)` or the name of a sink.
    fn action(&mut self) -> Result<(ActionDefinition, Vec<Location>), SqlError> {
        let target = self.target()?;
        let (settings, places) = match self.parser.consume_token(&Token::LParen) {
            true => setting::settings(self, &Token::RArrow)?,
            false => (Vec::new(), Vec::new()),
        };
        Ok((ActionDefinition { target, settings }, places))
    }

    /// A kind of target or a sink: a word, or words joined by dots.
    fn target(&mut self) -> Result<String, SqlError> {
        let mut target = self.word("the kind of a target or the name of a sink")?.value;
        while self.parser.consume_token(&Token::Period) {
            target.push('.');
            target.push_str(&self.word("a name")?.value);
        }
        Ok(target)
    }

    pub(crate) fn query(&mut self) -> Result<Box<Query>, SqlError> {
        let query = self.parser.parse_query();
        query.map_err(|error| syntax::parser_error(self.source, &error, self.end))
    }

    /// Nothing may follow.
    pub(crate) fn finish(&mut self) -> Result<(), SqlError> {
        match self.parser.peek_token_ref().token {
            Token::EOF => Ok(()),
            _ => {
                let found = self.parser.peek_token();
                let error = self.parser.expected::<()>("end of statement", found);
                error.map_err(|error| syntax::parser_error(self.source, &error, self.end))
            }
        }
    }

    pub(super) fn name<T: std::str::FromStr<Err = weir_core::ids::InvalidName>>(&mut self) -> Result<T, SqlError> {
        let place = self.place();
        self.word("a name")?.value.parse().map_err(|error: T::Err| self.source.error(place, error.to_string()))
    }

    pub(super) fn words(&mut self, words: &[&'static str]) -> Result<(), SqlError> {
        words.iter().try_for_each(|word| match self.keyword(&[word]) {
            Some(_) => Ok(()),
            None => Err(self.expected_word(&[word])),
        })
    }

    /// Takes the next word if it is one of `words`.
    pub(crate) fn keyword(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let found = self.peeked_word().filter(|word| word.quote_style.is_none())?;
        let word = words.iter().find(|word| found.value.eq_ignore_ascii_case(word))?;
        self.parser.advance_token();
        Some(word)
    }

    pub(crate) fn word(&mut self, expected: &str) -> Result<Word, SqlError> {
        let Some(word) = self.peeked_word() else { return Err(self.unexpected(expected)) };
        self.parser.advance_token();
        Ok(word)
    }

    fn peeked_word(&self) -> Option<Word> {
        match &self.parser.peek_token_ref().token {
            Token::Word(word) => Some(word.clone()),
            _ => None,
        }
    }

    /// Where the next token stands, or where the statement ends.
    pub(crate) fn place(&self) -> Location {
        match self.parser.peek_token_ref() {
            TokenWithSpan { token: Token::EOF, .. } => self.end,
            token => token.span.start,
        }
    }

    pub(super) fn expected_word(&self, words: &[&'static str]) -> SqlError {
        let error = self.unexpected(&match words {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            words => words.concat(),
        });
        let near = self.peeked_word().and_then(|word| nearest(&word.value, words.iter().copied()));
        error.hint_nearest(near)
    }

    pub(crate) fn unexpected(&self, expected: &str) -> SqlError {
        let message = match &self.parser.peek_token_ref().token {
            Token::EOF => format!("expected {expected}, but the statement ends"),
            found => format!("expected {expected}, found {found}"),
        };
        self.source.error(self.place(), message)
    }
}

//! Settings with `${…}`: SQL of the same engine, compiled to texts.

use sqlparser::tokenizer::Location;
use weir_core::{
    seams::{SettingValue, SqlError},
    statement::{ActionDefinition, Setting},
};

use super::{physical::text_of, typing::Typing};
use crate::{
    error::{Hint, Source},
    language::setting::{Located, Part, split},
    program::ColumnType,
};

/// A setting before its expressions are physical.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) setting: String,
    pub(super) value: SettingValue,
    pub(super) pieces: Vec<TemplatePiece>,
}

#[derive(Debug)]
pub(super) enum TemplatePiece {
    Literal(String),
    Expression(datafusion_expr::Expr),
}

/// Reads the settings of an action that have `${…}`. `written` is the action as the rule's text has it, with the places
/// of its values; a sink's settings stand elsewhere.
pub(super) fn templates(
    typing: &mut Typing<'_>,
    action: &ActionDefinition,
    written: Option<(&ActionDefinition, &[Location])>,
) -> Result<Vec<Template>, SqlError> {
    let rule = typing.source;
    let mut templates = Vec::new();
    for (name, setting) in &action.settings {
        let Setting::Template(text) = setting else { continue };
        let place = written.and_then(|(written, places)| {
            let index = written.settings.iter().position(|own| (&own.0, &own.1) == (name, setting))?;
            places.get(index)
        });
        let value = match name.as_str() {
            "topic" => SettingValue::Topic,
            "url" => SettingValue::Url,
            _ => SettingValue::Plain,
        };
        templates.push(match place {
            Some(place) => template(typing, name, value, &Located::literal(rule, *place))?,
            None => {
                let source = Source::setting(name, text);
                typing.with_source(&source, |typing| template(typing, name, value, &Located::text(text)))?
            }
        });
    }
    Ok(templates)
}

fn template(typing: &mut Typing<'_>, name: &str, value: SettingValue, located: &Located) -> Result<Template, SqlError> {
    let mut pieces = Vec::new();
    let mut before = String::new();
    for part in split(located, typing.source)? {
        pieces.push(match part {
            Part::Literal(text) => {
                before.push_str(&text);
                TemplatePiece::Literal(text)
            }
            Part::Expression(expr, place) => {
                if value == SettingValue::Url && !has_host(&before) {
                    let error = typing.source.error(place, "a URL takes no ${…} in its scheme or host");
                    return Err(error.hint("write them out, as in 'http://127.0.0.1:9000/${msg.device}'"));
                }
                before.push('x');
                TemplatePiece::Expression(text_of(typing.column(&expr, ColumnType::Json)?))
            }
        });
    }
    Ok(Template { setting: name.to_owned(), value, pieces })
}

/// Whether scheme and host end within a text.
fn has_host(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?', '#']))
}

//! Where settings come from, and what wins: defaults, then a file, then the environment, then flags.
//!
//! Each setting that differs from its default is put in place alone, so that an error can say which setting is wrong, and
//! who said so. This module knows no setting by name: those that exist are those of `default.toml`.

use std::{fmt, io, path::PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Who said what a setting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Defaults,
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("built-in defaults"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read configuration file {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{origin} is not valid TOML: {reason}")]
    Syntax { origin: Origin, reason: String },
    #[error("{origin}: unknown setting {key}{}", nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    UnknownKey { origin: Origin, key: String, nearest: Option<String> },
    #[error("{origin}: setting {key}: {reason}")]
    BadValue { origin: Origin, key: String, reason: String },
}

/// A setting as somebody gave it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    pub(super) key: String,
    pub(super) value: GivenValue,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum GivenValue {
    Toml(Value),
    /// From an environment variable or a flag: read as what the default is.
    Text(String),
}

/// Puts `given`, in order, over `defaults`.
pub(super) fn merge<C: DeserializeOwned>(defaults: &str, given: Vec<Given>) -> Result<C, ConfigError> {
    let mut merged = parse(defaults, &Origin::Defaults)?;
    for Given { key, value, origin } in given {
        let Some(place) = find(&mut merged, &key) else {
            let nearest = nearest(&key, &keys(&merged));
            return Err(ConfigError::UnknownKey { origin, key, nearest });
        };
        let bad_value = |reason: String| ConfigError::BadValue { origin: origin.clone(), key: key.clone(), reason };
        *place = match value {
            GivenValue::Toml(value) => value,
            GivenValue::Text(text) => from_text(&text, place).map_err(bad_value)?,
        };
        // What was in place before is valid, so an error is about this setting.
        build::<C>(&merged).map_err(bad_value)?;
    }
    build(&merged).map_err(|reason| ConfigError::Syntax { origin: Origin::Defaults, reason })
}

/// The settings of a file, flattened to `section.key`.
pub(super) fn from_file(path: PathBuf) -> Result<Vec<Given>, ConfigError> {
    let text =
        std::fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
    let origin = Origin::File(path);
    let table = parse(&text, &origin)?;
    let mut given = Vec::new();
    flatten(&table, "", &mut |key, value| {
        given.push(Given { key, value: GivenValue::Toml(value.clone()), origin: origin.clone() });
    });
    Ok(given)
}

/// The settings among environment variables: those with the form `WEIR_SECTION__KEY`.
pub(super) fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Given> {
    let mut given: Vec<Given> = variables
        .filter_map(|(name, value)| {
            let (section, key) = name.strip_prefix("WEIR_")?.split_once("__")?;
            let key = format!("{}.{}", section.to_ascii_lowercase(), key.replace("__", ".").to_ascii_lowercase());
            Some(Given { key, value: GivenValue::Text(value), origin: Origin::Environment(name) })
        })
        .collect();
    // The environment has no order; errors should not depend on luck.
    given.sort_by(|a, b| a.key.cmp(&b.key));
    given
}

fn parse(text: &str, origin: &Origin) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| ConfigError::Syntax {
        origin: origin.clone(),
        reason: error.to_string().trim_end().to_owned(),
    })
}

fn build<C: DeserializeOwned>(table: &Table) -> Result<C, String> {
    table.clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// The place of a setting; sections are not settings.
fn find<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Value> {
    let (first, rest) = match key.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (key, None),
    };
    match (table.get_mut(first)?, rest) {
        (Value::Table(section), Some(rest)) => find(section, rest),
        (Value::Table(_), None) | (_, Some(_)) => None,
        (value, None) => Some(value),
    }
}

fn flatten(table: &Table, prefix: &str, visit: &mut impl FnMut(String, &Value)) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(section) => flatten(section, &key, visit),
            value => visit(key, value),
        }
    }
}

fn keys(table: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    flatten(table, "", &mut |key, _| keys.push(key));
    keys
}

fn from_text(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::Integer(_) => {
            text.replace('_', "").parse().map(Value::Integer).map_err(|_| format!("{text:?} is not a whole number"))
        }
        Value::Float(_) => text.parse().map(Value::Float).map_err(|_| format!("{text:?} is not a number")),
        Value::Boolean(_) => match text {
            "true" | "1" | "yes" | "on" => Ok(Value::Boolean(true)),
            "false" | "0" | "no" | "off" => Ok(Value::Boolean(false)),
            _ => Err(format!("{text:?} is neither true nor false")),
        },
        // Of tables, as TOML writes it; of text, also with commas alone.
        Value::Array(_) if text.trim_start().starts_with('[') => match format!("list = {text}").parse::<Table>() {
            Ok(mut table) => table.remove("list").ok_or_else(|| format!("{text:?} is not a list in TOML")),
            Err(_) => Err(format!("{text:?} is not a list in TOML")),
        },
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::Array(parts.map(|part| Value::String(part.to_owned())).collect()))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// The known key that a mistyped one is likely to mean: the same name in another section, or a few letters away.
fn nearest(key: &str, known: &[String]) -> Option<String> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    if let Some(same) = known.iter().find(|candidate| name(candidate) == name(key)) {
        return Some(same.clone());
    }
    let (distance, best) = known.iter().map(|candidate| (edit_distance(key, candidate), candidate)).min()?;
    (distance <= 2 + key.len() / 4).then(|| best.clone())
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(from != to)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

//! What commands print: tables for people, JSON for programs.
//!
//! Everything goes through [`Output`], so that a reader that closes the pipe ends the command quietly.

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    time::{Duration, UNIX_EPOCH},
};

use comfy_table::{Cell, Table, presets};
use serde_json::Value;

use super::failure::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
}

/// A column of a table: its title, and its text for an item.
pub(crate) type Column = (&'static str, fn(&Value) -> String);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Text as it is, with a newline. Flushed at once: streams are read as they come.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    /// Bytes as they are: payloads need not be text.
    pub(crate) fn bytes(self, parts: &[&[u8]]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        for part in parts {
            stdout.write_all(part)?;
        }
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    pub(crate) fn json(self, value: &Value) -> Result<(), Failure> {
        self.line(&format!("{value:#}"))
    }

    /// A list as the hub gives it, `{"items":[…],"total":n}`.
    pub(crate) fn list(self, list: &Value, columns: &[Column], empty: &str) -> Result<(), Failure> {
        if self.is_json() {
            return self.json(list);
        }
        match items(list) {
            [] => {
                eprintln!("{empty}");
                Ok(())
            }
            items => self.line(&table(items, columns)),
        }
    }

    /// One thing, field by field.
    pub(crate) fn fields(self, thing: &Value) -> Result<(), Failure> {
        if self.is_json() { self.json(thing) } else { self.line(fields(thing).trim_end()) }
    }

    /// What a command did: JSON as the hub answered, or words for a person.
    pub(crate) fn done(self, answer: &Value, words: &str) -> Result<(), Failure> {
        if self.is_json() { self.json(answer) } else { self.line(words) }
    }
}

pub(crate) fn items(list: &Value) -> &[Value] {
    items_of(list, "items")
}

pub(crate) fn items_of<'a>(thing: &'a Value, key: &str) -> &'a [Value] {
    thing.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn table(items: &[Value], columns: &[Column]) -> String {
    let titles = columns.iter().map(|(title, _)| (*title).to_owned());
    let rows = items.iter().map(|item| columns.iter().map(|(_, text)| text(item)).collect());
    grid(titles, rows)
}

/// Columns two spaces apart, without lines or trailing spaces.
pub(crate) fn grid(titles: impl Iterator<Item = String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(titles.map(Cell::new).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A value as text; empty if there is none.
pub(crate) fn text(item: &Value, key: &str) -> String {
    item.get(key).map(plain).unwrap_or_default()
}

/// Milliseconds since 1970 as UTC.
pub(crate) fn time(item: &Value, key: &str) -> String {
    item.get(key).and_then(Value::as_i64).map(utc).unwrap_or_default()
}

pub(crate) fn utc(milliseconds: i64) -> String {
    let since = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    // Years beyond 9999 have no such form, and would make the formatter fail.
    match UNIX_EPOCH.checked_add(since).filter(|_| milliseconds < 253_402_300_800_000) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
        None => milliseconds.to_string(),
    }
}

pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `name:  value` lines; objects and lists of objects are indented below their name.
fn fields(thing: &Value) -> String {
    let mut text = String::new();
    write_fields(thing, 0, &mut text);
    text
}

fn write_fields(thing: &Value, indent: usize, text: &mut String) {
    let Some(object) = thing.as_object() else {
        text.push_str(&format!("{:indent$}{}\n", "", plain(thing)));
        return;
    };
    let width = object.keys().map(|key| key.chars().count() + 1).max().unwrap_or(0);
    for (key, value) in object {
        let label = format!("{}:", key.replace('_', " "));
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push_str(&format!("{:indent$}{label}\n", ""));
                write_fields(value, indent + 2, text);
            }
            Value::Array(list) if list.iter().any(Value::is_object) => {
                text.push_str(&format!("{:indent$}{label}\n", ""));
                for (number, item) in list.iter().enumerate() {
                    if number > 0 {
                        text.push('\n');
                    }
                    write_fields(item, indent + 2, text);
                }
            }
            value => {
                let shown = shown(key, value);
                // Rules and payloads may span lines.
                let shown = shown.replace('\n', &format!("\n{:1$}", "", indent + width + 2));
                text.push_str(format!("{:indent$}{label:width$}  {shown}", "").trim_end());
                text.push('\n');
            }
        }
    }
}

fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::Number(number) if key.ends_with("_at") => number.as_i64().map(utc).unwrap_or_default(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Null => "-".to_owned(),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(_) => "-".to_owned(),
        other => plain(other),
    }
}

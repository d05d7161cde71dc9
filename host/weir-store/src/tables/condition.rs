//! Conditions as SQL, and which declared index they may go by.

use rusqlite::types::Value;
use weir_core::{
    path::{JsonPath, Step},
    table::{Condition, Field, Indexed, Scalar},
};

use super::IndexRow;

/// Integers up to here are the same as doubles.
const EXACT: f64 = (1_u64 << 53) as f64;

/// How far a bound is moved out, of its value: SQLite reads long fractions a little differently.
const SLACK: f64 = 1e-12;

/// Values of one `IN`. Beyond it the reader compares.
const VALUES: usize = 1_000;

/// The WHERE of a scan.
#[derive(Debug, Default)]
pub(super) struct Clauses {
    parts: Vec<String>,
    pub(super) values: Vec<Value>,
    /// The index to go by.
    index: Option<String>,
}

impl Clauses {
    /// `key`: the columns of the table's key, all of them texts.
    pub(super) fn of(conditions: &[Condition], key: &[&str], indexes: &[IndexRow]) -> Self {
        let mut clauses = Self::default();
        for condition in conditions {
            clauses.add(condition, key);
        }
        // The rows of a device are few. Those of a product may be all there are, so an index comes before.
        let is_one_device = ["product", "device"].iter().all(|column| {
            conditions.iter().any(|condition| matches!(condition, Condition::In(field, _) if is_column(field, column)))
        });
        if !is_one_device {
            clauses.index = conditions.iter().find_map(|condition| {
                let index = indexes.iter().find(|index| serves(&index.indexed, condition))?;
                Some(index_name(index.name.as_str()))
            });
        }
        clauses
    }

    pub(super) fn complete(&self, select: &str) -> String {
        let mut sql = select.to_owned();
        if let Some(index) = &self.index {
            sql = format!("{sql} INDEXED BY \"{index}\"");
        }
        if !self.parts.is_empty() {
            sql = format!("{sql} WHERE {}", self.parts.join(" AND "));
        }
        sql
    }

    fn add(&mut self, condition: &Condition, key: &[&str]) {
        match condition {
            Condition::In(field, values) => self.add_in(field, values, key),
            Condition::Between(field, low, high) => {
                let Some(value) = value_of(field, key) else { return };
                for (bound, operator, out) in [(low, ">=", -1.0), (high, "<=", 1.0)] {
                    let Some(bound) = bound.filter(|bound| bound.is_finite()) else { continue };
                    self.values.push(Value::Real(bound + out * bound.abs() * SLACK));
                    self.parts.push(format!("{value} {operator} ?{}", self.values.len()));
                }
            }
            Condition::Present(field) | Condition::Absent(field) => {
                let is_present = matches!(condition, Condition::Present(_));
                let Some(value) = value_of(field, key) else { return };
                // The classic shadow has no name, which is stored as an empty one.
                self.parts.push(match (is_column(field, "name"), is_present) {
                    (true, true) => "name <> ''".to_owned(),
                    (true, false) => "name = ''".to_owned(),
                    (false, true) => format!("{value} IS NOT NULL"),
                    (false, false) => format!("{value} IS NULL"),
                });
            }
            Condition::Differ(left, right) => self.parts.extend(differ(left, right)),
        }
    }

    fn add_in(&mut self, field: &Field, values: &[Scalar], key: &[&str]) {
        let Some(value) = value_of(field, key).filter(|_| values.len() <= VALUES) else { return };
        if let [Scalar::Number(number)] = values {
            return self.add(&Condition::Between(field.clone(), Some(*number), Some(*number)), key);
        }
        let mut converted = Vec::new();
        for value in values {
            converted.push(match value {
                // SQLite ends some texts at a NUL.
                Scalar::Text(text) if !text.contains('\0') => Value::Text(text.clone()),
                Scalar::Integer(number) if (*number as f64).abs() < EXACT => Value::Integer(*number),
                Scalar::Boolean(boolean) => Value::Integer(i64::from(*boolean)),
                // Several numbers would be several ranges.
                _ => return,
            });
        }
        let mut places = Vec::new();
        for value in converted {
            self.values.push(value);
            places.push(format!("?{}", self.values.len()));
        }
        self.parts.push(format!("{value} IN ({})", places.join(", ")));
    }
}

/// What a declared index is called in SQLite.
pub(super) fn index_name(name: &str) -> String {
    format!("declared_{name}")
}

/// What an index of SQLite is made on, behind the name of the table. `None`: SQLite cannot find that.
pub(super) fn index_clause(indexed: &Indexed) -> Option<String> {
    match indexed {
        Indexed::Field(field) => Some(format!("({})", extracted(field)?)),
        // Only the rows that differ stand in it, by their key.
        Indexed::Differ(left, right) => Some(format!("(product, device, name) WHERE {}", differ(left, right)?)),
    }
}

fn serves(indexed: &Indexed, condition: &Condition) -> bool {
    match (indexed, condition) {
        (Indexed::Differ(left, right), Condition::Differ(a, b)) => (left, right) == (a, b),
        (Indexed::Field(field), Condition::In(other, values)) => {
            // One that is not looked for in SQL cannot go by the index.
            let mut alone = Clauses::default();
            alone.add_in(other, values, &[]);
            field == other && !alone.parts.is_empty()
        }
        (Indexed::Field(field), Condition::Between(other, low, high)) => {
            field == other && low.iter().chain(high).any(|bound| bound.is_finite())
        }
        _ => false,
    }
}

/// JSON values that differ are different texts of it, and `->` gives the text. Of what is absent nothing is known.
fn differ(left: &Field, right: &Field) -> Option<String> {
    let text = |field: &Field| Some(format!("({} -> {})", json_column(field)?, quoted_path(&field.path)?));
    Some(format!("{} <> {}", text(left)?, text(right)?))
}

fn is_column(field: &Field, column: &str) -> bool {
    field.column == column && field.path.0.is_empty()
}

/// What SQLite has of a field: a column of the key as it is, a value within a document.
fn value_of(field: &Field, key: &[&str]) -> Option<String> {
    if field.path.0.is_empty() {
        return key.contains(&field.column.as_str()).then(|| field.column.clone());
    }
    extracted(field)
}

fn extracted(field: &Field) -> Option<String> {
    Some(format!("json_extract({}, {})", json_column(field)?, quoted_path(&field.path)?))
}

/// A column that is stored as JSON.
fn json_column(field: &Field) -> Option<&'static str> {
    ["reported", "desired"].into_iter().find(|column| *column == field.column)
}

/// A path as SQLite writes it, as a literal: an index is found by its very words.
fn quoted_path(path: &JsonPath) -> Option<String> {
    if !path.is_plain() || path.0.is_empty() {
        return None;
    }
    let step = |step: &Step| match step {
        Step::Key(key) => format!(".\"{key}\""),
        Step::Index(index) => format!("[{index}]"),
    };
    let steps: String = path.0.iter().map(step).collect();
    Some(format!("'${}'", steps.replace('\'', "''")))
}

//! The setting `columns = 'temp float64, pos.lat float64'`: fields of the rows as columns of a type.
//!
//! The types are the statement's and not the batch's, so that what a row becomes does not depend on which rows happen to
//! share its batch. A field that is missing, or of another type, is a row without a value.

use serde_json::Value;
use weir_core::seams::Delivery;

use super::batch::{Validity, texts};
use crate::bindings::types::{Column, Values};

pub(super) const SETTING: &str = "columns";

/// Columns of one sink.
const MOST: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Columns(Vec<Asked>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    name: String,
    path: Vec<String>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Int64,
    Float64,
    Timestamp,
    Utf8,
    Json,
}

impl Columns {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut columns = Vec::new();
        for item in text.split(',').map(str::trim) {
            let form = || format!("{item:?}: write a field and a type, such as 'temp float64, pos.lat float64'");
            let (name, kind) = item.rsplit_once(char::is_whitespace).ok_or_else(form)?;
            let name = name.trim();
            let kind = match kind {
                "boolean" => Kind::Boolean,
                "int64" => Kind::Int64,
                "float64" => Kind::Float64,
                "timestamp" => Kind::Timestamp,
                "utf8" => Kind::Utf8,
                "json" => Kind::Json,
                other => {
                    return Err(format!("{other:?} is not a type: boolean, int64, float64, timestamp, utf8 or json"));
                }
            };
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            if path.iter().any(String::is_empty) {
                return Err(form());
            }
            columns.push(Asked { name: name.to_owned(), path, kind });
        }
        match columns.len() > MOST {
            true => Err(format!("there may be at most {MOST}")),
            false => Ok(Self(columns)),
        }
    }

    pub(super) fn of(&self, rows: &[Delivery]) -> Vec<Column> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let documents: Vec<Value> =
            rows.iter().map(|row| serde_json::from_slice(&row.payload).unwrap_or(Value::Null)).collect();
        self.0.iter().map(|asked| asked.column(&documents)).collect()
    }
}

impl Asked {
    fn column(&self, documents: &[Value]) -> Column {
        let found = documents.iter().map(|document| self.find(document));
        let name = self.name.as_str();
        match self.kind {
            Kind::Int64 => collected(name, found.map(|value| value?.as_i64()), Values::Int64),
            Kind::Timestamp => collected(name, found.map(|value| value?.as_i64()), Values::Timestamp),
            Kind::Float64 => collected(name, found.map(|value| value?.as_f64()), Values::Float64),
            Kind::Boolean => {
                let (mut validity, mut bits) = (Validity::default(), Validity::default());
                for value in found {
                    let value = value.and_then(Value::as_bool);
                    validity.push(value.is_some());
                    bits.push(value == Some(true));
                }
                Column { name: name.to_owned(), validity: validity.finish(), values: Values::Boolean(bits.bits()) }
            }
            Kind::Utf8 => texts(name, found.map(|value| value?.as_str().map(str::as_bytes)), Values::Utf8),
            Kind::Json => {
                let shown: Vec<Option<String>> = found.map(|value| value.map(Value::to_string)).collect();
                texts(name, shown.iter().map(|text| text.as_deref().map(str::as_bytes)), Values::Json)
            }
        }
    }

    fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        let found = self.path.iter().try_fold(document, |value, key| value.get(key));
        found.filter(|value| !value.is_null())
    }
}

fn collected<T: Default>(name: &str, found: impl Iterator<Item = Option<T>>, values: fn(Vec<T>) -> Values) -> Column {
    let mut validity = Validity::default();
    let collected = found.map(|value| {
        validity.push(value.is_some());
        value.unwrap_or_default()
    });
    let collected = collected.collect();
    Column { name: name.to_owned(), validity: validity.finish(), values: values(collected) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_checked() {
        let check = |text: &str, expected: Result<usize, &str>| match (Columns::parse(text), expected) {
            (Ok(columns), Ok(count)) => assert_eq!(columns.0.len(), count, "{text}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (other, _) => panic!("{text}: {other:?}"),
        };
        check("temp float64", Ok(1));
        check("temp float64, pos.lat  float64,n int64 , raw json", Ok(4));
        check("temp", Err("write a field and a type"));
        check("temp double", Err("\"double\" is not a type"));
        check("a..b json", Err("write a field and a type"));
        check("", Err("write a field and a type"));
    }

    #[test]
    fn types_are_those_of_the_statement() {
        let documents: Vec<Value> = [r#"{"a":1,"p":{"x":true}}"#, r#"{"a":1.5}"#, r#"{"a":"1"}"#, "7"]
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        let column = |text: &str| Columns::parse(text).unwrap().0.remove(0).column(&documents);
        let a = column("a float64");
        assert!(matches!(&a.values, Values::Float64(values) if *values == [1.0, 1.5, 0.0, 0.0]), "{a:?}");
        assert_eq!(a.validity, Some(vec![0b0011]));
        let a = column("a int64");
        assert!(matches!(&a.values, Values::Int64(values) if *values == [1, 0, 0, 0]), "{a:?}");
        assert_eq!(a.validity, Some(vec![0b0001]));
        let x = column("p.x boolean");
        assert!(matches!(&x.values, Values::Boolean(bits) if *bits == [1]), "{x:?}");
        let a = column("a json");
        assert!(matches!(&a.values, Values::Json(texts) if texts.data == b"11.5\"1\""), "{a:?}");
    }
}

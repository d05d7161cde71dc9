//! The rows that a sink gets.

use serde::de::DeserializeOwned;

use crate::{Column, Outcome, Verdicts, bindings::weir::plugin::types};

/// A batch of rows, in the order of the hub's log.
#[derive(Debug)]
pub struct Rows {
    rows: usize,
    columns: Vec<Column>,
    places: [Option<usize>; NAMES.len()],
}

/// The columns that every batch has.
const NAMES: [&str; 10] =
    ["offset", "rule", "row", "time", "topic", "product", "device", "qos", "payload", "failure"];

impl Rows {
    pub(crate) fn new(batch: types::Batch) -> Self {
        let columns: Vec<Column> = batch.columns.into_iter().map(Column).collect();
        // The first of a name is the hub's own: what a setting adds comes behind.
        let places = NAMES.map(|name| columns.iter().position(|column| column.name() == name));
        Self { rows: batch.rows as usize, columns, places }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.rows).map(|row| Row { rows: self, row })
    }

    /// Writes row by row, until the other side is unavailable: no row overtakes one that waits.
    pub fn each(&self, mut write: impl FnMut(Row<'_>) -> Outcome) -> Verdicts {
        let mut verdicts = Verdicts::default();
        let mut outage = None;
        for row in self.iter() {
            let number = row.row;
            let outcome = match &outage {
                Some(outage) => Outcome::clone(outage),
                None => write(row),
            };
            if matches!(outcome, Outcome::Unavailable { .. }) {
                outage = Some(outcome.clone());
            }
            verdicts.say(number, outcome);
        }
        verdicts
    }

    /// A column by its name: those of the setting `columns`, and the envelope's.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name() == name)
    }

    fn known(&self, place: usize) -> Option<&Column> {
        self.columns.get((*self.places.get(place)?)?)
    }
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    rows: &'a Rows,
    row: usize,
}

impl<'a> Row<'a> {
    /// Its place in the batch.
    pub fn index(&self) -> usize {
        self.row
    }

    /// Names the row for ever: writing it twice is to be the same as writing it once.
    pub fn key(&self) -> String {
        let rule = self.rows.known(1).and_then(|column| column.text(self.row)).unwrap_or_default();
        let row = self.rows.known(2).and_then(|column| column.integer(self.row)).unwrap_or_default();
        format!("{rule}/{}/{row}", self.offset())
    }

    /// The place of its message in the hub's log.
    pub fn offset(&self) -> i64 {
        self.rows.known(0).and_then(|column| column.integer(self.row)).unwrap_or_default()
    }

    /// When the hub accepted the message, in milliseconds since 1970.
    pub fn time(&self) -> i64 {
        self.rows.known(3).and_then(|column| column.integer(self.row)).unwrap_or_default()
    }

    /// The topic of the message.
    pub fn topic(&self) -> &'a str {
        self.rows.known(4).and_then(|column| column.text(self.row)).unwrap_or_default()
    }

    /// The product of the device that sent the message.
    pub fn product(&self) -> Option<&'a str> {
        self.rows.known(5)?.text(self.row)
    }

    /// The device that sent the message.
    pub fn device(&self) -> Option<&'a str> {
        self.rows.known(6)?.text(self.row)
    }

    /// The row as JSON text, or the message itself for `SELECT *`.
    pub fn payload(&self) -> &'a [u8] {
        self.rows.known(8).and_then(|column| column.bytes(self.row)).unwrap_or_default()
    }

    /// The row, read as JSON. The error names the place and no value.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(self.payload()).map_err(|error| {
            let kind = match error.classify() {
                serde_json::error::Category::Data => "the row has not the fields that are needed",
                _ => "the row is not JSON",
            };
            format!("{kind} (line {}, column {})", error.line(), error.column())
        })
    }

    /// Why the message failed, where the sink is a rule's error target.
    pub fn failure(&self) -> Option<&'a str> {
        self.rows.known(9)?.text(self.row)
    }
}

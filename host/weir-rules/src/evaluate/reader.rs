//! What is read from the payloads of a batch, and the columns that come of it.
//!
//! Each payload is read once, for all rules that want it. Columns are picked for any list of rows, be they read together
//! or apart; a list that is all of a column costs nothing.

use std::{cell::OnceCell, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, Int64Array, StringArray, UInt32Array},
    compute::{interleave, take},
    error::ArrowError,
};
use hashbrown::HashMap;
use weir_core::{Protocol, schema::Records};

use crate::{
    extract::{Extracted, Extractor},
    program::{ColumnType, EnvelopeColumn, Input, JsonPath},
};

/// A union of inputs that are read from payloads in one pass.
#[derive(Debug)]
pub(super) struct Reader {
    places: HashMap<Input, usize>,
    extractor: Extractor,
}

impl Reader {
    pub(super) fn new<'a>(inputs: impl Iterator<Item = &'a Input>) -> Self {
        let mut places = HashMap::new();
        let mut columns = Vec::new();
        for input in inputs {
            let (path, column_type) = match input {
                Input::Path { path, column_type } => (path.clone(), *column_type),
                Input::PayloadJson => (JsonPath(Box::default()), ColumnType::Json),
                Input::Envelope(_) | Input::PayloadBytes => continue,
            };
            places.entry(input.clone()).or_insert_with(|| {
                columns.push((path, column_type));
                columns.len() - 1
            });
        }
        Self { places, extractor: Extractor::new(&columns) }
    }

    pub(super) fn columns(&self) -> usize {
        self.places.len()
    }
}

/// The rows that one reader reads, and what it read.
#[derive(Debug)]
struct Reading {
    reader: Arc<Reader>,
    rows: Vec<u32>,
    extracted: Extracted,
}

/// A batch of records with all that rules read of it.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) records: &'a Records,
    readings: Vec<Reading>,
    /// For each record its reading, and its place there. Empty if no payload is read.
    places: Vec<(u32, u32)>,
    envelope: [OnceCell<ArrayRef>; ENVELOPE_COLUMNS],
    payload: OnceCell<ArrayRef>,
}

const ENVELOPE_COLUMNS: usize = EnvelopeColumn::PayloadLength as usize + 1;
const UNREAD: (u32, u32) = (u32::MAX, 0);

impl<'a> Batch<'a> {
    /// `wanted`: rows and what reads them; a row stands in one list at most.
    pub(super) fn new(records: &'a Records, wanted: Vec<(Arc<Reader>, Vec<u32>)>) -> Self {
        let mut places = if wanted.is_empty() { Vec::new() } else { vec![UNREAD; records.len()] };
        let mut readings = Vec::with_capacity(wanted.len());
        for (number, (reader, rows)) in (0..).zip(wanted) {
            for (place, row) in (0..).zip(&rows) {
                if let Some(entry) = places.get_mut(*row as usize) {
                    *entry = (number, place);
                }
            }
            let extracted = reader.extractor.extract(&records.payload, &rows);
            readings.push(Reading { reader, rows, extracted });
        }
        Self { records, readings, places, envelope: Default::default(), payload: OnceCell::new() }
    }

    /// Whether a row was read and is not JSON.
    pub(super) fn is_malformed(&self, row: u32) -> bool {
        let (reading, place) = self.place(row);
        let reading = self.readings.get(reading as usize);
        reading.is_some_and(|reading| reading.extracted.malformed.binary_search(&place).is_ok())
    }

    pub(super) fn has_malformed(&self) -> bool {
        self.readings.iter().any(|reading| !reading.extracted.malformed.is_empty())
    }

    pub(super) fn has_mismatches(&self) -> bool {
        self.readings.iter().any(|reading| reading.extracted.mismatches.iter().any(|places| !places.is_empty()))
    }

    /// How many of `rows` (ascending) hold another type at `input` than it demands.
    pub(super) fn mismatches(&self, input: &Input, rows: &[u32]) -> u64 {
        let column = |reading: &'_ Reading| reading.reader.places.get(input).copied();
        let mut count = 0;
        for (number, reading) in (0..).zip(&self.readings) {
            let Some(places) = column(reading).and_then(|column| reading.extracted.mismatches.get(column)) else {
                continue;
            };
            if places.is_empty() {
                continue;
            }
            if reading.rows == rows {
                return places.len() as u64;
            }
            let is_one = |row: &&u32| {
                let (at, place) = self.place(**row);
                at == number && places.binary_search(&place).is_ok()
            };
            count += rows.iter().filter(is_one).count() as u64;
        }
        count
    }

    /// A payload as text, if it is one.
    pub(super) fn text(&self, row: u32) -> Option<&'a str> {
        let row = row as usize;
        let payload = if row < self.records.len() { self.records.payload.value(row) } else { return None };
        simdutf8::basic::from_utf8(payload).ok()
    }

    pub(super) fn pick<'b>(&'b self, rows: &'b [u32]) -> Picked<'b> {
        Picked { batch: self, rows, indices: OnceCell::new(), found: OnceCell::new() }
    }

    fn place(&self, row: u32) -> (u32, u32) {
        self.places.get(row as usize).copied().unwrap_or(UNREAD)
    }

    fn payloads(&self) -> &ArrayRef {
        self.payload.get_or_init(|| Arc::new(self.records.payload.clone()))
    }

    fn envelope(&self, column: EnvelopeColumn) -> Option<&ArrayRef> {
        self.envelope.get(column as usize).map(|cell| cell.get_or_init(|| envelope_column(self.records, column)))
    }
}

/// Rows of a batch whose columns are asked for. What it takes to pick them is found out once.
#[derive(Debug)]
pub(super) struct Picked<'a> {
    batch: &'a Batch<'a>,
    pub(super) rows: &'a [u32],
    /// The rows as Arrow wants them; none if they are the whole batch.
    indices: OnceCell<Option<UInt32Array>>,
    found: OnceCell<Found>,
}

/// Where rows are among what was read.
#[derive(Debug)]
enum Found {
    Whole(usize),
    Some(usize, UInt32Array),
    /// Readings, and for each row which of these and the place in it.
    Several(Vec<usize>, Vec<(usize, usize)>),
}

impl Picked<'_> {
    pub(super) fn column(&self, input: &Input) -> Result<ArrayRef, ArrowError> {
        match input {
            Input::Envelope(column) => match self.batch.envelope(*column) {
                Some(whole) => self.of_batch(whole),
                None => Err(lacking(input)),
            },
            Input::PayloadBytes => self.payload(),
            Input::Path { .. } | Input::PayloadJson => self.of_readings(input),
        }
    }

    pub(super) fn payload(&self) -> Result<ArrayRef, ArrowError> {
        self.of_batch(self.batch.payloads())
    }

    fn of_batch(&self, whole: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let indices = self.indices.get_or_init(|| {
            let is_whole = is_counting(self.rows.iter().copied(), whole.len());
            (!is_whole).then(|| UInt32Array::from(self.rows.to_vec()))
        });
        match indices {
            Some(indices) => take(whole, indices, None),
            None => Ok(Arc::clone(whole)),
        }
    }

    fn of_readings(&self, input: &Input) -> Result<ArrayRef, ArrowError> {
        let column = |number: usize| {
            let reading = self.batch.readings.get(number)?;
            reading.extracted.columns.get(*reading.reader.places.get(input)?)
        };
        match self.found.get_or_init(|| self.find()) {
            Found::Whole(number) => column(*number).cloned().ok_or_else(|| lacking(input)),
            Found::Some(number, indices) => take(column(*number).ok_or_else(|| lacking(input))?, indices, None),
            Found::Several(numbers, indices) => {
                let columns = numbers.iter().map(|number| column(*number).map(|column| column.as_ref()));
                let columns: Option<Vec<&dyn Array>> = columns.collect();
                interleave(&columns.ok_or_else(|| lacking(input))?, indices)
            }
        }
    }

    fn find(&self) -> Found {
        let places = || self.rows.iter().map(|row| self.batch.place(*row));
        let first = places().next().unwrap_or_default().0;
        if places().any(|(number, _)| number != first) {
            let mut numbers = Vec::new();
            let mut known = HashMap::new();
            let indices = places().map(|(number, place)| {
                let at = *known.entry(number).or_insert_with(|| {
                    numbers.push(number as usize);
                    numbers.len() - 1
                });
                (at, place as usize)
            });
            let indices = indices.collect();
            return Found::Several(numbers, indices);
        }
        let length = self.batch.readings.get(first as usize).map_or(0, |reading| reading.rows.len());
        if is_counting(places().map(|(_, place)| place), length) {
            return Found::Whole(first as usize);
        }
        Found::Some(first as usize, places().map(|(_, place)| place).collect())
    }
}

/// Whether `numbers` are 0, 1, 2 … up to and without `length`.
fn is_counting(numbers: impl ExactSizeIterator<Item = u32>, length: usize) -> bool {
    numbers.len() == length && (0..).zip(numbers).all(|(at, number): (u32, u32)| at == number)
}

fn lacking(input: &Input) -> ArrowError {
    ArrowError::ComputeError(format!("{input:?} was not read"))
}

fn envelope_column(records: &Records, column: EnvelopeColumn) -> ArrayRef {
    match column {
        EnvelopeColumn::Offset => Arc::new(records.offset.clone()),
        EnvelopeColumn::AcceptedAt => Arc::new(records.accepted_at.clone().with_timezone("UTC")),
        EnvelopeColumn::Product => Arc::new(records.product.clone()),
        EnvelopeColumn::Device => Arc::new(records.device.clone()),
        EnvelopeColumn::Topic => Arc::new(records.topic.clone()),
        EnvelopeColumn::Publisher => Arc::new(records.publisher.clone()),
        EnvelopeColumn::Session => Arc::new(records.session.clone()),
        EnvelopeColumn::Protocol => {
            let names = records.protocol.values().iter().map(|number| Protocol::from_u8(*number).map(Protocol::as_str));
            Arc::new(names.collect::<StringArray>())
        }
        EnvelopeColumn::ContentType => Arc::new(records.content_type.clone()),
        EnvelopeColumn::ResponseTopic => Arc::new(records.response_topic.clone()),
        EnvelopeColumn::Origin => Arc::new(records.origin.clone()),
        EnvelopeColumn::Qos => Arc::new(records.qos.unary::<_, arrow::datatypes::Int64Type>(i64::from)),
        EnvelopeColumn::Retain => Arc::new(records.retain.values().iter().map(i64::from).collect::<Int64Array>()),
        EnvelopeColumn::Hop => Arc::new(records.hop.unary::<_, arrow::datatypes::Int64Type>(i64::from)),
        EnvelopeColumn::PayloadLength => {
            let lengths = records.payload.value_offsets().array_windows().map(|[start, end]| i64::from(end - start));
            Arc::new(lengths.collect::<Int64Array>())
        }
    }
}

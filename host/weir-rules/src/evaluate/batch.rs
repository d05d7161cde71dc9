//! A batch and all that rules read of it.
//!
//! Each payload is read once, for all rules that want it. A column is there once, whoever reads it.

use std::{cell::OnceCell, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, StringArray},
    datatypes::Int64Type,
};
use weir_core::{Protocol, schema::Records};

use crate::{
    extract::{Extraction, Extractor},
    program::{ColumnType, EnvelopeColumn, Input, JsonPath},
    render::Cells,
};

/// Inputs that are read from payloads in one pass, by number.
#[derive(Debug)]
pub(super) struct Reader {
    columns: Vec<(u32, ColumnType)>,
    extractor: Extractor,
}

impl Reader {
    /// `numbers`: those of `inputs` that are read.
    pub(super) fn new(numbers: impl Iterator<Item = u32>, inputs: &[Input]) -> Self {
        let (mut columns, mut paths) = (Vec::new(), Vec::new());
        for number in numbers {
            let (path, column_type) = match inputs.get(number as usize) {
                Some(Input::Path { path, column_type }) => (path.clone(), *column_type),
                Some(Input::PayloadJson) => (JsonPath(Box::default()), ColumnType::Json),
                Some(Input::Envelope(_) | Input::PayloadBytes) | None => continue,
            };
            columns.push((number, column_type));
            paths.push((path, column_type));
        }
        Self { columns, extractor: Extractor::new(&paths) }
    }

    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }
}

#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) records: &'a Records,
    pub(super) inputs: &'a [Input],
    /// For each record how many payloads were read before it. Empty if none are read.
    places: Vec<u32>,
    /// The records in the order in which their payloads were read.
    rows: Vec<u32>,
    /// The places whose payload is not JSON, ascending.
    malformed: Vec<u32>,
    read: Vec<Column>,
    has_mismatches: bool,
    /// For each input its column among those read.
    numbers: Vec<u32>,
    envelope: [OnceCell<Column>; ENVELOPE_COLUMNS],
    payload: OnceCell<Column>,
}

/// A column and where its rows are.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) array: ArrayRef,
    pub(super) order: Order,
    /// The places whose value is of another type, ascending.
    mismatches: Vec<u32>,
    pub(super) written: Written,
}

/// In which order the rows of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// That of the batch.
    Records,
    /// That of reading, from a place on.
    Reading(u32),
}

/// A column made ready to be written, once for all rows.
#[derive(Debug, Default)]
pub(super) struct Written {
    values: OnceCell<Cells>,
    json: OnceCell<Cells>,
}

const ENVELOPE_COLUMNS: usize = EnvelopeColumn::PayloadLength as usize + 1;
const NONE: u32 = u32::MAX;
/// Rows for which a column has room from the start, if so many are read at all.
const FEW_ROWS: usize = 256;

impl Written {
    pub(super) fn cells(&self, array: &ArrayRef, is_json: bool) -> &Cells {
        let cell = if is_json { &self.json } else { &self.values };
        cell.get_or_init(|| Cells::new(array, is_json))
    }
}

impl<'a> Batch<'a> {
    /// `wanted`: rows and what reads them; a row stands in one list at most.
    pub(super) fn new(records: &'a Records, inputs: &'a [Input], wanted: &[(Arc<Reader>, Vec<u32>)]) -> Self {
        let mut places = if wanted.is_empty() { Vec::new() } else { vec![NONE; records.len()] };
        let mut numbers = if wanted.is_empty() { Vec::new() } else { vec![NONE; inputs.len()] };
        let total = wanted.iter().map(|(_, rows)| rows.len()).sum();
        let mut extraction = Extraction::new(&records.payload, total);
        let (mut read_rows, mut targets) = (Vec::with_capacity(total), Vec::new());
        for (reader, rows) in wanted {
            for (place, row) in (read_rows.len() as u32..).zip(rows) {
                if let Some(entry) = places.get_mut(*row as usize) {
                    *entry = place;
                }
            }
            read_rows.extend_from_slice(rows);
            targets.clear();
            for (input, column_type) in &reader.columns {
                let Some(number) = numbers.get_mut(*input as usize) else { continue };
                if *number == NONE {
                    // Other readers may go on with the column.
                    let expected = rows.len().max(total.min(FEW_ROWS));
                    *number = extraction.column(*column_type, expected) as u32;
                }
                targets.push(*number as usize);
            }
            extraction.read(&reader.extractor, &targets, rows);
        }
        let (read, malformed) = extraction.finish();
        let has_mismatches = read.iter().any(|column| !column.mismatches.is_empty());
        let read = read.into_iter().map(|column| Column {
            array: column.array,
            order: Order::Reading(column.base),
            mismatches: column.mismatches,
            written: Written::default(),
        });
        let read = read.collect();
        Self {
            records,
            inputs,
            places,
            rows: read_rows,
            malformed,
            read,
            has_mismatches,
            numbers,
            envelope: Default::default(),
            payload: OnceCell::new(),
        }
    }

    /// Whether a row was read and is not JSON.
    pub(super) fn is_malformed(&self, row: u32) -> bool {
        self.malformed.binary_search(&self.place(row)).is_ok()
    }

    pub(super) fn has_malformed(&self) -> bool {
        !self.malformed.is_empty()
    }

    pub(super) fn has_mismatches(&self) -> bool {
        self.has_mismatches
    }

    /// How many of `rows` (ascending) hold another type at an input than it demands.
    pub(super) fn mismatches(&self, number: u32, rows: &[u32]) -> u64 {
        let Some(Column { mismatches, .. }) = self.column(number) else { return 0 };
        // The shorter list is gone through, the other one searched.
        let count = if mismatches.len() < rows.len() {
            let is_meant =
                |place: &&u32| self.rows.get(**place as usize).is_some_and(|row| rows.binary_search(row).is_ok());
            mismatches.iter().filter(is_meant).count()
        } else {
            rows.iter().filter(|row| mismatches.binary_search(&self.place(**row)).is_ok()).count()
        };
        count as u64
    }

    /// A payload as text, if it is one.
    pub(super) fn text(&self, row: u32) -> Option<&'a str> {
        simdutf8::basic::from_utf8(self.payload(row)).ok()
    }

    pub(super) fn payload(&self, row: u32) -> &'a [u8] {
        let row = row as usize;
        if row < self.records.len() { self.records.payload.value(row) } else { &[] }
    }

    /// The column of an input. `None` if nobody reads it.
    pub(super) fn column(&self, number: u32) -> Option<&Column> {
        match self.inputs.get(number as usize)? {
            Input::Path { .. } | Input::PayloadJson => self.read.get(*self.numbers.get(number as usize)? as usize),
            Input::Envelope(column) => self.envelope(*column),
            Input::PayloadBytes => {
                Some(self.payload.get_or_init(|| of_records(Arc::new(self.records.payload.clone()))))
            }
        }
    }

    pub(super) fn envelope(&self, column: EnvelopeColumn) -> Option<&Column> {
        let cell = self.envelope.get(column as usize)?;
        Some(cell.get_or_init(|| of_records(envelope_column(self.records, column))))
    }

    /// Where a row is in columns of an order.
    #[inline]
    pub(super) fn at(&self, order: Order, row: u32) -> u32 {
        match order {
            Order::Records => row,
            Order::Reading(base) => self.place(row).wrapping_sub(base),
        }
    }

    #[inline]
    fn place(&self, row: u32) -> u32 {
        self.places.get(row as usize).copied().unwrap_or(NONE)
    }
}

fn of_records(array: ArrayRef) -> Column {
    Column { array, order: Order::Records, mismatches: Vec::new(), written: Written::default() }
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
        EnvelopeColumn::Qos => Arc::new(records.qos.unary::<_, Int64Type>(i64::from)),
        EnvelopeColumn::Retain => Arc::new(records.retain.values().iter().map(i64::from).collect::<Int64Array>()),
        EnvelopeColumn::Hop => Arc::new(records.hop.unary::<_, Int64Type>(i64::from)),
        EnvelopeColumn::PayloadLength => {
            let lengths = records.payload.value_offsets().array_windows().map(|[start, end]| i64::from(end - start));
            Arc::new(lengths.collect::<Int64Array>())
        }
    }
}

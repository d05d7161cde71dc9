//! Rules that join tables to their messages.
//!
//! The rows of a batch's devices are looked up, each device once, and every message meets those of its own. Then the rule
//! is evaluated over what came together. A row that fails fails its message, and no other.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array},
    compute::{cast, concat_batches, filter_record_batch},
    datatypes::{DataType, Schema},
};
use datafusion_common::{Result, internal_datafusion_err, internal_err};
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;
use parking_lot::Mutex;
use weir_core::{
    path::JsonPath,
    schema::optional_text,
    seams::{Failures, Rows, RuleEvaluation, Table, TableError, TakeRows},
    table::{Condition, Field, Scalar, TableScan},
};

use super::{report::Fed, tables::TableReader};
use crate::{
    program::{Argument, JoinedRule, JoinedTable, Piece, TableInput},
    render::{Cells, RowForm, TextForm, TextPiece},
};

/// Devices that one scan looks for.
const DEVICES_AT_ONCE: usize = 500;

const FAILED: &str = "an expression failed";

/// Completes the evaluation of the messages by themselves.
pub(super) fn evaluate(
    rule: &JoinedRule,
    fed: Fed,
    mut evaluation: RuleEvaluation,
    tables: &[Arc<dyn Table>],
) -> Result<RuleEvaluation, TableError> {
    let Fed { columns, rows: messages, .. } = fed;
    evaluation.actions = Vec::new();
    evaluation.matched = 0;
    if messages.is_empty() {
        evaluation.unmatched = evaluation.read - evaluation.failed;
        return Ok(evaluation);
    }
    let mut met = Met::of(columns, messages.len());
    for joined in &rule.tables {
        let failed = |reason: String| TableError { table: joined.table.clone(), reason };
        let table = tables.iter().find(|table| table.schema().name == joined.table);
        let table = table.ok_or_else(|| failed("there is no such table".to_owned()))?;
        met = met.join(joined, table.as_ref(), rule)?;
    }
    let (made, failures) = met.rows(rule);
    let mut failed: Vec<u32> = failures.iter().filter_map(|place| messages.get(*place as usize).copied()).collect();
    failed.dedup();
    let source: Vec<u32> = made.places.iter().filter_map(|place| messages.get(*place as usize).copied()).collect();
    let mut numbers = Vec::with_capacity(source.len());
    for (index, row) in source.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| Some((source.get(before)?, numbers.get(before)?)));
        numbers.push(before.filter(|(other, _)| *other == row).map_or(0, |(_, number): (_, &u32)| number + 1));
    }
    evaluation.matched = numbers.iter().filter(|number| **number == 0).count() as u64;
    evaluation.failed += failed.len() as u64;
    evaluation.unmatched = evaluation.read - evaluation.matched - evaluation.failed;
    add_failures(&mut evaluation, failed);
    let (source, row): (Arc<[u32]>, Arc<[u32]>) = (source.into(), numbers.into());
    if !source.is_empty() {
        let payload = BinaryArray::from_iter_values(&made.payloads);
        evaluation.actions = made
            .arguments
            .into_iter()
            .map(|arguments| Rows {
                source: Arc::clone(&source),
                row: Arc::clone(&row),
                payload: payload.clone(),
                arguments,
            })
            .collect();
    }
    Ok(evaluation)
}

/// Messages whose rows failed, beside those that could not be read.
fn add_failures(evaluation: &mut RuleEvaluation, failed: Vec<u32>) {
    if failed.is_empty() {
        return;
    }
    let failures = evaluation.failures.get_or_insert_with(|| Failures {
        source: Vec::new(),
        reasons: Vec::new(),
        arguments: Vec::new(),
    });
    failures.reasons.extend(failed.iter().map(|_| FAILED.to_owned()));
    // What cannot be computed is NULL, and makes the row of the error target wrong in its turn.
    for (_, texts) in &mut failures.arguments {
        let more = std::iter::repeat_n(None, failed.len());
        *texts = (0..texts.len()).map(|row| optional_text(texts, row)).chain(more).collect::<StringArray>();
    }
    failures.source.extend(failed);
}

/// Messages with the rows that they have met so far.
struct Met {
    /// For each, which message it is. Ascending.
    places: Vec<u32>,
    columns: Vec<ArrayRef>,
}

/// What a rule makes of them.
#[derive(Default)]
struct Made {
    places: Vec<u32>,
    payloads: Vec<Vec<u8>>,
    /// For each action.
    arguments: Vec<Vec<(String, StringArray)>>,
}

impl Met {
    fn of(columns: Vec<ArrayRef>, messages: usize) -> Self {
        Self { places: (0..messages as u32).collect(), columns }
    }

    fn batch(&self, rule: &JoinedRule) -> Result<RecordBatch> {
        let fields: Vec<_> = rule.schema.fields().iter().take(self.columns.len()).cloned().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.places.len()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), self.columns.clone(), &options)?)
    }

    /// Looks up the rows of a table that belong to the messages.
    fn join(self, joined: &JoinedTable, table: &dyn Table, rule: &JoinedRule) -> Result<Self, TableError> {
        let failed = |reason: String| TableError { table: joined.table.clone(), reason };
        let met = self.batch(rule).map_err(|error| failed(error.to_string()))?;
        let keys = Keys::of(joined, &met).map_err(|error| failed(error.to_string()))?;
        let fields = rule.schema.fields().iter().skip(self.columns.len()).take(joined.inputs.len()).cloned();
        let found = keys.look_up(joined, table, Schema::new(fields.collect::<Vec<_>>()))?;
        self.meet(joined, &keys, &found, rule).map_err(|error| failed(error.to_string()))
    }

    fn meet(self, joined: &JoinedTable, keys: &Keys, found: &Found, rule: &JoinedRule) -> Result<Self> {
        // Every message with each row of its device, and once with none, which stands behind all rows.
        let none = found.rows.num_rows() as u32;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (place, key) in keys.keys.iter().enumerate() {
            let rows = key.as_ref().and_then(|key| found.by_key.get(key));
            for row in rows.into_iter().flatten() {
                left.push(place as u32);
                right.push(Some(*row));
            }
        }
        let candidates = self.with_rows(&left, &right, found)?;
        let on = candidates.batch(rule)?;
        let passes = joined.on.evaluate(&on)?.into_array(on.num_rows())?;
        let Some(passes) = passes.as_boolean_opt() else { return internal_err!("ON is not true or false") };
        let passed = |at: usize| passes.is_valid(at) && passes.value(at);
        let mut pairs: Vec<(u32, Option<u32>)> =
            left.iter().zip(&right).enumerate().filter(|(at, _)| passed(*at)).map(|(_, (l, r))| (*l, *r)).collect();
        if joined.left {
            let mut has = vec![false; self.places.len()];
            for (place, _) in &pairs {
                if let Some(has) = has.get_mut(*place as usize) {
                    *has = true;
                }
            }
            pairs.extend((0..).zip(&has).filter(|(_, has)| !**has).map(|(place, _)| (place, None)));
            pairs.sort_unstable_by_key(|(place, row)| (*place, row.unwrap_or(none)));
        }
        let (left, right): (Vec<u32>, Vec<Option<u32>>) = pairs.into_iter().unzip();
        self.with_rows(&left, &right, found)
    }

    /// The messages at these places, with the rows beside them.
    fn with_rows(&self, left: &[u32], right: &[Option<u32>], found: &Found) -> Result<Self> {
        let (own, other) = (UInt32Array::from(left.to_vec()), UInt32Array::from(right.to_vec()));
        let take = |column: &ArrayRef, indices| arrow::compute::take(column, indices, None);
        let mut columns = self.columns.iter().map(|column| take(column, &own)).collect::<Result<Vec<_>, _>>()?;
        for column in found.rows.columns() {
            columns.push(take(column, &other)?);
        }
        let places = left.iter().filter_map(|place| self.places.get(*place as usize).copied()).collect();
        Ok(Self { places, columns })
    }

    /// The rows of the rule, and the places of messages that failed.
    fn rows(self, rule: &JoinedRule) -> (Made, Vec<u32>) {
        let Ok(batch) = self.batch(rule) else { return (Made::default(), self.places) };
        let form = RowForm::new(false, rule.columns.iter().map(|column| (column.name.as_str(), column.is_json, None)));
        if let Ok(made) = attempt(rule, &form, &self.places, &batch) {
            return (made, Vec::new());
        }
        let (mut made, mut failed) = (Made::default(), Vec::new());
        for (row, place) in self.places.iter().enumerate() {
            match attempt(rule, &form, &[*place], &batch.slice(row, 1)) {
                Ok(one) => made.add(one),
                Err(_) => failed.push(*place),
            }
        }
        (made, failed)
    }
}

impl Made {
    fn add(&mut self, other: Self) {
        self.places.extend(other.places);
        self.payloads.extend(other.payloads);
        if self.arguments.is_empty() {
            self.arguments = other.arguments;
            return;
        }
        for (own, other) in self.arguments.iter_mut().zip(other.arguments) {
            for ((_, own), (_, other)) in own.iter_mut().zip(other) {
                let texts = (0..own.len()).map(|row| optional_text(own, row));
                *own = texts.chain((0..other.len()).map(|row| optional_text(&other, row))).collect();
            }
        }
    }
}

fn attempt(rule: &JoinedRule, form: &RowForm, places: &[u32], batch: &RecordBatch) -> Result<Made> {
    let work = AssertUnwindSafe(|| attempt_here(rule, form, places, batch));
    catch_unwind(work).unwrap_or_else(|_| internal_err!("{FAILED}"))
}

fn attempt_here(rule: &JoinedRule, form: &RowForm, places: &[u32], batch: &RecordBatch) -> Result<Made> {
    let (mut places, mut batch) = (places.to_vec(), batch.clone());
    if let Some(predicate) = &rule.predicate {
        let passes = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
        let Some(passes) = passes.as_boolean_opt() else { return internal_err!("WHERE is not true or false") };
        let passed = |row: usize| passes.is_valid(row) && passes.value(row);
        places = (0..).zip(places).filter(|(row, _)| passed(*row)).map(|(_, place)| place).collect();
        batch = filter_record_batch(&batch, passes)?;
    }
    let rows = batch.num_rows();
    let cells = |expression: &Arc<dyn PhysicalExpr>, is_json| {
        Ok::<_, datafusion_common::DataFusionError>(Cells::new(
            &expression.evaluate(&batch)?.into_array(rows)?,
            is_json,
        ))
    };
    let columns =
        rule.columns.iter().map(|column| cells(&column.expression, column.is_json)).collect::<Result<Vec<_>>>()?;
    let payloads = (0..rows).map(|row| {
        let mut json = Vec::new();
        let value = |column: usize, into: &mut Vec<u8>| match columns.get(column) {
            Some(cells) => cells.write_json(row, into),
            None => into.extend_from_slice(b"null"),
        };
        form.write("", value, &mut json);
        json
    });
    let payloads = payloads.collect();
    let mut arguments = Vec::new();
    for settings in &rule.arguments {
        let mut texts = Vec::new();
        for argument in settings {
            texts.push((argument.setting.clone(), setting(argument, rows, cells)?));
        }
        arguments.push(texts);
    }
    Ok(Made { places, payloads, arguments })
}

/// The texts of a setting.
fn setting(
    argument: &Argument,
    rows: usize,
    cells: impl Fn(&Arc<dyn PhysicalExpr>, bool) -> Result<Cells>,
) -> Result<StringArray> {
    let (mut pieces, mut values) = (Vec::new(), Vec::new());
    for piece in &argument.pieces {
        pieces.push(match piece {
            Piece::Literal(text) => TextPiece::Literal(text.clone()),
            Piece::Expression(expression) => {
                values.push(cells(expression, false)?);
                TextPiece::Value(values.len() - 1)
            }
        });
    }
    let form = TextForm { setting: argument.setting.clone(), pieces, value: argument.value };
    let text = |row: usize| {
        let mut text = String::new();
        form.write(|value| Some((values.get(value)?, row)), &mut text).then_some(text)
    };
    Ok((0..rows).map(text).collect())
}

type Key = (String, String);

/// The product and device that each message is looked up by.
struct Keys {
    keys: Vec<Option<Key>>,
}

/// Rows of a table: what the rule reads of them, and which are of a device.
struct Found {
    rows: RecordBatch,
    by_key: HashMap<Key, Vec<u32>>,
}

impl Keys {
    fn of(joined: &JoinedTable, met: &RecordBatch) -> Result<Self> {
        let texts = |expression: &Arc<dyn PhysicalExpr>| {
            let values = cast(&expression.evaluate(met)?.into_array(met.num_rows())?, &DataType::Utf8)?;
            values.as_string_opt::<i32>().cloned().ok_or_else(|| internal_datafusion_err!("a name is no text"))
        };
        let (products, devices) = (texts(&joined.product)?, texts(&joined.device)?);
        let key = |row| Some((optional_text(&products, row)?.to_owned(), optional_text(&devices, row)?.to_owned()));
        Ok(Self { keys: (0..met.num_rows()).map(key).collect() })
    }

    /// `schema`: of what the rule reads.
    fn look_up(&self, joined: &JoinedTable, table: &dyn Table, schema: Schema) -> Result<Found, TableError> {
        let failed = |reason: String| TableError { table: joined.table.clone(), reason };
        let lacks = |column: &str| failed(format!("it has no column {column}"));
        let place = |column: &str| table.schema().column(column).map(|(place, _)| place).ok_or_else(|| lacks(column));
        // The key comes first, so that it is there whatever the rule reads.
        let mut inputs = vec![TableInput::Column(place("product")?), TableInput::Column(place("device")?)];
        inputs.extend(joined.inputs.iter().cloned());
        let reader = TableReader::new(&inputs);
        let mut by_product: HashMap<&str, Vec<&str>> = HashMap::new();
        for (product, device) in self.keys.iter().flatten() {
            by_product.entry(product).or_default().push(device);
        }
        let taken = Arc::new(Taken::default());
        for (product, mut devices) in by_product {
            devices.sort_unstable();
            devices.dedup();
            for devices in devices.chunks(DEVICES_AT_ONCE) {
                let field = |column: &str| Field { column: column.to_owned(), path: JsonPath(Box::default()) };
                let text = |text: &str| Scalar::Text(text.to_owned());
                let conditions = vec![
                    Condition::In(field("product"), vec![text(product)]),
                    Condition::In(field("device"), devices.iter().copied().map(text).collect()),
                ];
                let scan = TableScan { columns: reader.columns().to_vec(), conditions };
                table.scan(&scan, Arc::clone(&taken) as Arc<dyn TakeRows>)?;
            }
        }
        let batches = std::mem::take(&mut *taken.batches.lock());
        Found::read(&reader, &batches, schema).map_err(|error| failed(error.to_string()))
    }
}

impl Found {
    fn read(reader: &TableReader, batches: &[RecordBatch], schema: Schema) -> Result<Self> {
        let mut read = Vec::new();
        for batch in batches {
            let columns = reader.read(batch)?.into_iter().enumerate();
            read.push(RecordBatch::try_from_iter_with_nullable(
                columns.map(|(place, column)| (place.to_string(), column, true)),
            )?);
        }
        let Some(first) = read.first() else {
            return Ok(Self { rows: RecordBatch::new_empty(Arc::new(schema)), by_key: HashMap::new() });
        };
        let rows = concat_batches(&first.schema(), &read)?;
        let text = |column: usize| rows.columns().get(column).and_then(|column| column.as_string_opt::<i32>().cloned());
        let (Some(products), Some(devices)) = (text(0), text(1)) else { return internal_err!("a key is no text") };
        let mut by_key: HashMap<Key, Vec<u32>> = HashMap::new();
        for row in 0..rows.num_rows() {
            let key = (products.value(row).to_owned(), devices.value(row).to_owned());
            by_key.entry(key).or_default().push(row as u32);
        }
        Ok(Self { rows: without_key(&rows)?, by_key })
    }
}

fn without_key(rows: &RecordBatch) -> Result<RecordBatch> {
    let places: Vec<usize> = (2..rows.num_columns()).collect();
    Ok(rows.project(&places)?)
}

/// Keeps what a scan gives.
#[derive(Default)]
struct Taken {
    batches: Mutex<Vec<RecordBatch>>,
}

impl TakeRows for Taken {
    fn take(&self, batch: RecordBatch) -> bool {
        self.batches.lock().push(batch);
        true
    }

    fn is_over(&self) -> bool {
        false
    }
}

//! The windows of a rule: what closes becomes the rule's rows, as JSON.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::filter_record_batch,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use datafusion_common::{Result, internal_err};
use serde_json::value::RawValue;
use weir_core::{
    Timestamp,
    schema::{Records, optional_text},
    windows::{WindowLimits, WindowMark, WindowRow, WindowStanding, WindowStream, WindowTally, Windows},
};

use super::{Closed, Machine, WindowedRule, machine::Mark};
use crate::{
    extract::quote,
    plan::Finish,
    render::{Cells, RowForm, write_instant_ms},
};

/// The windows of one rule.
#[derive(Debug)]
pub struct RuleWindows {
    rule: Arc<WindowedRule>,
    machine: Machine,
    form: RowForm,
}

impl RuleWindows {
    /// As [`Machine::open`].
    pub(crate) fn open(
        rule: Arc<WindowedRule>,
        limits: WindowLimits,
        saved: Option<&[u8]>,
    ) -> Result<(Self, Option<String>)> {
        let (machine, lost) = Machine::open(Arc::clone(&rule.plan), limits, saved)?;
        let form = rule.finish.form();
        Ok((Self { rule, machine, form }, lost))
    }

    fn rows(&mut self, records: &Records, closed: Closed) -> Vec<WindowRow> {
        let finished = self.rule.finish.rows(&self.form, &closed.groups);
        let mut rows = Vec::with_capacity(closed.marks.len() + closed.late.len());
        let tally = &mut self.machine.tally;
        for (Mark { mark, hop }, made) in closed.marks.into_iter().zip(finished) {
            match made {
                Made::Row(payload) => {
                    tally.rows += 1;
                    rows.push(WindowRow { mark, stream: WindowStream::Rows, hop, payload });
                }
                Made::HeldBack => tally.held_back += 1,
                Made::Spoiled => tally.spoiled += 1,
            }
        }
        if self.rule.late.is_some() {
            rows.extend(closed.late.into_iter().map(|(mark, row)| late(records, mark, row)));
            rows.sort_by_key(|row| row.mark);
        }
        rows
    }
}

impl Windows for RuleWindows {
    fn push(&mut self, records: &Records) -> Vec<WindowRow> {
        match self.machine.push(records) {
            Ok(closed) => self.rows(records, closed),
            // Only where Arrow has no room for what closed at once; the machine has let go of it.
            Err(_) => Vec::new(),
        }
    }

    fn due(&mut self) -> Option<Timestamp> {
        self.machine.due().map(Timestamp)
    }

    fn tally(&self) -> WindowTally {
        self.machine.tally()
    }

    fn standing(&self) -> WindowStanding {
        self.machine.standing()
    }

    fn save(&mut self) -> Result<Vec<u8>, String> {
        self.machine.save().map_err(|error| crate::plan::plain(&error))
    }
}

/// What became of a closed window.
enum Made {
    Row(Vec<u8>),
    HeldBack,
    Spoiled,
}

impl Finish {
    fn form(&self) -> RowForm {
        RowForm::new(false, self.columns.iter().map(|column| (column.name.as_str(), column.is_json, None)))
    }

    fn rows(&self, form: &RowForm, groups: &RecordBatch) -> Vec<Made> {
        if groups.num_rows() == 0 {
            return Vec::new();
        }
        if let Ok(rows) = self.attempt(form, groups) {
            return rows;
        }
        // One that fails does so alone.
        let alone = |row: usize| {
            let made = self.attempt(form, &groups.slice(row, 1)).ok().and_then(|mut rows| rows.pop());
            made.unwrap_or(Made::Spoiled)
        };
        (0..groups.num_rows()).map(alone).collect()
    }

    fn attempt(&self, form: &RowForm, groups: &RecordBatch) -> Result<Vec<Made>> {
        let work = AssertUnwindSafe(|| self.attempt_here(form, groups));
        catch_unwind(work).unwrap_or_else(|_| internal_err!("an expression failed"))
    }

    fn attempt_here(&self, form: &RowForm, groups: &RecordBatch) -> Result<Vec<Made>> {
        let mut passes = vec![true; groups.num_rows()];
        let mut passed = groups.clone();
        if let Some(predicate) = &self.predicate {
            let values = predicate.evaluate(groups)?.into_array(groups.num_rows())?;
            let Some(values) = values.as_boolean_opt() else { return internal_err!("HAVING is not true or false") };
            for (row, passes) in passes.iter_mut().enumerate() {
                *passes = values.is_valid(row) && values.value(row);
            }
            passed = filter_record_batch(groups, &passes.clone().into())?;
        }
        let mut cells = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let values = column.expression.evaluate(&passed)?.into_array(passed.num_rows())?;
            cells.push(Cells::new(&values, column.is_json));
        }
        let mut number = 0;
        let made = passes.into_iter().map(|passes| {
            if !passes {
                return Made::HeldBack;
            }
            let mut row = Vec::new();
            let value = |column: usize, into: &mut Vec<u8>| match cells.get(column) {
                Some(cells) => cells.write_json(number, into),
                None => into.extend_from_slice(b"null"),
            };
            form.write("", value, &mut row);
            number += 1;
            Made::Row(row)
        });
        Ok(made.collect())
    }
}

/// A message that came too late, with where it came from.
fn late(records: &Records, mark: WindowMark, row: usize) -> WindowRow {
    let mut json = b"{\"topic\":".to_vec();
    quote(records.topic.value(row), &mut json);
    for (name, value) in [("product", &records.product), ("device", &records.device)] {
        json.extend_from_slice(format!(",\"{name}\":").as_bytes());
        match optional_text(value, row) {
            Some(text) => quote(text, &mut json),
            None => json.extend_from_slice(b"null"),
        }
    }
    json.extend_from_slice(b",\"time\":\"");
    write_instant_ms(records.accepted_at.value(row), &mut json);
    json.extend_from_slice(b"\",\"payload\":");
    let payload = records.payload.value(row);
    match simdutf8::basic::from_utf8(payload) {
        Ok(text) if serde_json::from_str::<&RawValue>(text).is_ok() => json.extend_from_slice(text.trim().as_bytes()),
        Ok(text) => quote(text, &mut json),
        Err(_) => quote(&STANDARD.encode(payload), &mut json),
    }
    json.push(b'}');
    let hop = records.hop.value(row) + 1;
    WindowRow { mark, stream: WindowStream::Late, hop, payload: json }
}

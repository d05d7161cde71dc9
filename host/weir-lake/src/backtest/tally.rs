//! What a backtest counts, and the rows that it shows.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use arrow::array::Array;
use weir_core::{
    Offset, Timestamp,
    history::{ActionReport, BacktestReport, Hour, Sample},
    schema::{Records, optional_text},
    seams::{Failures, Rows, RuleEvaluation},
    statement::RuleDefinition,
};

/// The index that names a rule's error target among its actions.
pub(super) const ERROR_ACTION: u32 = 1_000;

const HOUR: i64 = 60 * 60 * 1_000;

pub(crate) struct Tally {
    report: BacktestReport,
    mismatches: HashMap<String, u64>,
    hours: BTreeMap<i64, u64>,
    samples: usize,
    spent: Duration,
}

impl Tally {
    pub(super) fn new(rule: &RuleDefinition, samples: usize) -> Self {
        let action = |(action, target): (u32, &str)| ActionReport {
            action,
            target: target.to_owned(),
            ..ActionReport::default()
        };
        let actions = (0..).zip(rule.actions.iter().map(|action| action.target.as_str()));
        let errors = rule.on_error.iter().map(|action| (ERROR_ACTION, action.target.as_str()));
        let report = BacktestReport { actions: actions.chain(errors).map(action).collect(), ..Default::default() };
        Self { report, mismatches: HashMap::new(), hours: BTreeMap::new(), samples, spent: Duration::ZERO }
    }

    pub(super) fn spent(&mut self, time: Duration, records: usize) {
        self.spent += time;
        self.report.evaluated += records as u64;
    }

    pub(crate) fn add(&mut self, records: &Records, evaluation: &RuleEvaluation) {
        let report = &mut self.report;
        report.read += evaluation.read;
        report.matched += evaluation.matched;
        report.unmatched += evaluation.unmatched;
        report.failed += evaluation.failed;
        for (path, count) in &evaluation.mismatches {
            match self.mismatches.get_mut(path) {
                Some(known) => *known += count,
                None => drop(self.mismatches.insert(path.clone(), *count)),
            }
        }
        for (action, rows) in report.actions.iter_mut().zip(&evaluation.actions) {
            add_rows(action, records, rows, self.samples);
        }
        if let Some(rows) = evaluation.actions.first() {
            for source in rows.source.iter() {
                let time = records.accepted_at(*source as usize);
                *self.hours.entry(time.0.div_euclid(HOUR)).or_default() += 1;
            }
        }
        if let (Some(failures), Some(action)) = (&evaluation.failures, report.actions.last_mut())
            && action.action == ERROR_ACTION
        {
            add_failures(action, records, failures, self.samples);
        }
    }

    pub(crate) fn finish(self) -> BacktestReport {
        let hours = self.hours.into_iter().map(|(hour, rows)| Hour { from: Timestamp(hour * HOUR), rows });
        BacktestReport {
            mismatches: self.mismatches.into_iter().collect(),
            hours: hours.collect(),
            evaluate_us: u64::try_from(self.spent.as_micros()).unwrap_or(u64::MAX),
            ..self.report
        }
    }
}

fn add_rows(action: &mut ActionReport, records: &Records, rows: &Rows, samples: usize) {
    action.rows += rows.source.len() as u64;
    action.bytes += rows.payload.iter().flatten().map(|payload| payload.len() as u64).sum::<u64>();
    if !rows.arguments.is_empty() {
        let is_invalid = |row: usize| rows.arguments.iter().any(|(_, values)| values.is_null(row));
        action.invalid += (0..rows.source.len()).filter(|row| is_invalid(*row)).count() as u64;
    }
    let more = samples.saturating_sub(action.samples.len()).min(rows.source.len());
    action.samples.extend((0..more).filter_map(|row| sample(records, rows, row)));
}

fn add_failures(action: &mut ActionReport, records: &Records, failures: &Failures, samples: usize) {
    action.rows += failures.source.len() as u64;
    for (row, source) in failures.source.iter().enumerate() {
        let source = *source as usize;
        action.bytes += records.payload.value(source).len() as u64;
        if action.samples.len() < samples {
            action.samples.push(Sample {
                failure: failures.reasons.get(row).cloned(),
                ..of_record(records, source, 0, records.payload.value(source))
            });
        }
    }
}

/// A row as its target would have got it.
pub(super) fn sample(records: &Records, rows: &Rows, row: usize) -> Option<Sample> {
    let (source, number) = (*rows.source.get(row)? as usize, *rows.row.get(row)?);
    let value = |(name, values): &(String, arrow::array::StringArray)| {
        (name.clone(), optional_text(values, row).map(str::to_owned))
    };
    let payload = if rows.payload.is_valid(row) { rows.payload.value(row) } else { &[] };
    let arguments = rows.arguments.iter().map(value).collect();
    Some(Sample { arguments, ..of_record(records, source, number, payload) })
}

fn of_record(records: &Records, record: usize, row: u32, payload: &[u8]) -> Sample {
    Sample {
        offset: Offset(records.offset.value(record)),
        row,
        time: records.accepted_at(record),
        topic: records.topic.value(record).to_owned(),
        payload: payload.to_vec(),
        arguments: Vec::new(),
        failure: None,
    }
}

//! Rules over the rows that are for them, and what comes of it.

use std::{iter, ops::Range, rc::Rc, sync::Arc};

use arrow::{
    array::{Array, AsArray, GenericByteArray, RecordBatch, StringArray, UInt32Array},
    compute::{concat, concat_batches},
    datatypes::ByteArrayType,
};
use hashbrown::HashMap;
use smallvec::SmallVec;
use weir_core::seams::{Failures, Rows, RuleEvaluation};

use super::{
    Index,
    prepare::{Prepared, Stage},
    reader::Batch,
    route::Routed,
    rule::Rule,
    stage::{Made, Matched, Parameters, Task, matched, produce, selected},
};
use crate::program::Input;

/// Rows from which on a rule is evaluated by itself: then its expressions with literals in place are quicker than
/// picking rows and literals for many rules at once.
const ENOUGH_ROWS: usize = 64;

/// Evaluates all rules for which there are rows.
pub(super) fn evaluate(index: &Index, routed: &Routed, batch: &Batch<'_>) -> Vec<RuleEvaluation> {
    let mut pairs: Vec<(u32, usize)> = Vec::new();
    for (number, route) in routed.routes.iter().enumerate() {
        pairs.extend(route.rules.iter().map(|rule| (*rule, number)));
    }
    pairs.sort_unstable();
    let merged = Merged::of(&pairs, routed);
    let members: Vec<Member<'_>> = pairs
        .chunk_by(|(a, _), (b, _)| a == b)
        .filter_map(|routes| {
            let (number, _) = *routes.first()?;
            let rule = index.rules.get(number as usize)?;
            Some(Member { number: number as usize, rule, rows: merged.rows(routes, routed) })
        })
        .collect();

    let mut run =
        Run { batch, known: HashMap::new(), zeros: Arc::new([]), evaluations: Vec::with_capacity(members.len()) };
    for members in members.chunk_by(|a, b| Arc::ptr_eq(&a.rule.shape, &b.rule.shape)) {
        let (many, few): (Vec<Member<'_>>, Vec<Member<'_>>) =
            members.iter().copied().partition(|member| member.rows.len() >= ENOUGH_ROWS);
        if few.len() > 1 {
            run.together(index, &few);
        } else {
            few.iter().for_each(|member| run.alone(member));
        }
        many.iter().for_each(|member| run.alone(member));
    }
    run.evaluations
}

/// Evaluates one rule over rows that are for it.
pub(super) fn evaluate_alone(rule: &Arc<Rule>, batch: &Batch<'_>, rows: &[u32]) -> Option<RuleEvaluation> {
    let mut run = Run { batch, known: HashMap::new(), zeros: Arc::new([]), evaluations: Vec::new() };
    run.alone(&Member { number: 0, rule, rows });
    run.evaluations.pop()
}

/// The columns that one rule selects of rows that are for it.
pub(super) fn select(rule: &Rule, batch: &Batch<'_>, rows: &[u32]) -> Option<RecordBatch> {
    let prepared = &*rule.own;
    let sound = Sound::of(batch, prepared, rows);
    let task = Task { rows: sound.rows(rows), parameters: None };
    let matched = matched(prepared.predicate.as_deref(), batch, task);
    let names: Vec<&str> = prepared.rows.names().collect();
    let pieces = selected(prepared, batch, task, &matched.places).into_iter().filter_map(|columns| {
        let columns = names.iter().zip(columns).map(|(name, column)| (*name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).ok()
    });
    let pieces: Vec<RecordBatch> = pieces.collect();
    match pieces.as_slice() {
        [piece] => Some(piece.clone()),
        pieces => concat_batches(&pieces.first()?.schema(), pieces).ok(),
    }
}

/// A rule and the rows that are for it, ascending.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    number: usize,
    rule: &'a Arc<Rule>,
    rows: &'a [u32],
}

/// The rows of rules whose messages come by several routes, by the list of routes.
#[derive(Debug, Default)]
struct Merged(HashMap<Vec<usize>, Vec<u32>>);

impl Merged {
    fn of(pairs: &[(u32, usize)], routed: &Routed) -> Self {
        let mut merged = Self::default();
        for routes in pairs.chunk_by(|(a, _), (b, _)| a == b).filter(|routes| routes.len() > 1) {
            merged.0.entry(key(routes)).or_insert_with(|| {
                let mut rows = Vec::new();
                for (_, route) in routes {
                    rows.extend_from_slice(routed.rows.get(routed.range(*route)).unwrap_or_default());
                }
                rows.sort_unstable();
                rows
            });
        }
        merged
    }

    fn rows<'a>(&'a self, routes: &[(u32, usize)], routed: &'a Routed) -> &'a [u32] {
        match routes {
            [(_, route)] => routed.rows.get(routed.range(*route)).unwrap_or_default(),
            routes => self.0.get(&key(routes)).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

fn key(routes: &[(u32, usize)]) -> Vec<usize> {
    routes.iter().map(|(_, route)| *route).collect()
}

/// A predicate, by address, over rows, by address, and whether malformed rows were sorted out.
type MatchKey = (*const Stage, *const u32, usize, bool);

struct Run<'a> {
    batch: &'a Batch<'a>,
    /// What predicates have matched already.
    known: HashMap<MatchKey, Rc<Matched>>,
    /// As many zeros as the last rule had rows.
    zeros: Arc<[u32]>,
    evaluations: Vec<RuleEvaluation>,
}

impl Run<'_> {
    fn alone(&mut self, member: &Member<'_>) {
        let prepared = &*member.rule.own;
        let sound = Sound::of(self.batch, prepared, member.rows);
        let task = Task { rows: sound.rows(member.rows), parameters: None };
        let matched = match &prepared.predicate {
            None => Rc::new(matched(None, self.batch, task)),
            Some(predicate) => {
                let key = (Arc::as_ptr(predicate), member.rows.as_ptr(), member.rows.len(), prepared.reads_json);
                let find = || Rc::new(matched(Some(predicate), self.batch, task));
                Rc::clone(self.known.entry(key).or_insert_with(find))
            }
        };
        let results = self.results(prepared, task, &matched);
        self.report(member, &results, task, 0..task.rows.len(), &sound.malformed);
    }

    /// Evaluates rules of one shape as if they were one, with literals that differ by row.
    fn together(&mut self, index: &Index, members: &[Member<'_>]) {
        let Some(first) = members.first() else { return };
        let prepared = &*first.rule.shape;
        let (mut rows, mut rules, mut ranges) = (Vec::new(), Vec::new(), Vec::with_capacity(members.len()));
        for member in members {
            let sound = Sound::of(self.batch, prepared, member.rows);
            let start = rows.len();
            rows.extend_from_slice(sound.rows(member.rows));
            rules.resize(rows.len(), index.places.get(member.number).copied().unwrap_or(0));
            ranges.push((start..rows.len(), sound.malformed));
        }
        let columns = index.parameters.get(first.number).cloned().unwrap_or_default();
        let rules = UInt32Array::from(rules);
        let task = Task { rows: &rows, parameters: Some(Parameters { rules: &rules, columns: &columns }) };
        let matched = matched(prepared.predicate.as_deref(), self.batch, task);
        let results = self.results(prepared, task, &matched);
        for (member, (range, malformed)) in members.iter().zip(ranges) {
            self.report(member, &results, task, range, &malformed);
        }
    }

    fn results(&self, prepared: &Prepared, task: Task<'_>, matched: &Matched) -> Results {
        let mut failed = matched.failed.clone();
        if !prepared.rows.takes_members() {
            let product = produce(prepared, self.batch, task, &matched.places);
            failed.extend(product.failed);
            return Results { made: product.made, failed: ascending(failed) };
        }
        let is_object = |place: &u32| {
            let text = task.rows.get(*place as usize).and_then(|row| self.batch.text(*row));
            text.is_some_and(|text| text.trim_ascii_start().starts_with('{'))
        };
        let (objects, others): (Vec<u32>, Vec<u32>) = matched.places.iter().partition(|place| is_object(place));
        let product = produce(prepared, self.batch, task, &objects);
        failed.extend(others.into_iter().map(|place| (place, "the payload is no JSON object, so * has no members")));
        failed.extend(product.failed);
        Results { made: product.made, failed: ascending(failed) }
    }

    /// Reports what became of the rows of one rule: those of `range` in the task, and those that failed before it.
    fn report(
        &mut self,
        member: &Member<'_>,
        results: &Results,
        task: Task<'_>,
        range: Range<usize>,
        malformed: &[(u32, &'static str)],
    ) {
        let rule = member.rule;
        let (actions, matched) = self.actions(rule, results, task, &range);
        let mut failed = malformed.to_vec();
        let evaluated = within(&results.failed, &range, |(place, _)| *place);
        if !evaluated.is_empty() {
            let evaluated = results.failed.get(evaluated).unwrap_or_default().iter();
            failed.extend(evaluated.filter_map(|(place, reason)| Some((*task.rows.get(*place as usize)?, *reason))));
            failed.sort_unstable();
        }
        let read = member.rows.len() as u64;
        self.evaluations.push(RuleEvaluation {
            rule: rule.name.clone(),
            read,
            matched: matched as u64,
            unmatched: read - matched as u64 - failed.len() as u64,
            failed: failed.len() as u64,
            mismatches: self.mismatches(member),
            actions,
            failures: self.failures(rule, &failed),
        });
    }

    /// The rows for each action, and how many they are.
    fn actions(&mut self, rule: &Rule, results: &Results, task: Task<'_>, range: &Range<usize>) -> (Vec<Rows>, usize) {
        let parts = results.made.iter().filter_map(|made| {
            let range = within(&made.places, range, |place| *place);
            (!range.is_empty()).then_some(Part { made, range })
        });
        let parts: SmallVec<[Part<'_>; 1]> = parts.collect();
        let count = parts.iter().map(|part| part.range.len()).sum();
        let Some(payload) = joined(parts.iter().map(|part| (&part.made.rows, part))) else { return (Vec::new(), 0) };
        let row = |place: &u32| task.rows.get(*place as usize).copied().unwrap_or_default();
        let source: Arc<[u32]> = match parts.as_slice() {
            [part] => part.places().iter().map(row).collect(),
            parts => parts.iter().flat_map(Part::places).map(row).collect(),
        };
        if self.zeros.len() != count {
            self.zeros = iter::repeat_n(0, count).collect();
        }
        let actions = rule.own.actions.iter().enumerate().map(|(action, forms)| {
            let arguments = forms.iter().enumerate().map(|(setting, form)| {
                let texts = parts.iter().filter_map(|part| Some((part.made.settings.get(action)?.get(setting)?, part)));
                (form.setting.clone(), joined(texts).unwrap_or_else(|| StringArray::new_null(count)))
            });
            Rows {
                source: Arc::clone(&source),
                row: Arc::clone(&self.zeros),
                payload: payload.clone(),
                arguments: arguments.collect(),
            }
        });
        (actions.collect(), count)
    }

    fn mismatches(&self, member: &Member<'_>) -> Vec<(String, u64)> {
        let mut mismatches: Vec<(String, u64)> = Vec::new();
        if !self.batch.has_mismatches() {
            return mismatches;
        }
        for input in member.rule.inputs.iter().flat_map(|inputs| inputs.iter()) {
            let count = self.batch.mismatches(input, member.rows);
            let (Input::Path { path, .. }, 1..) = (input, count) else { continue };
            let path = path.to_string();
            // One path may be demanded in several types.
            match mismatches.iter_mut().find(|(other, _)| *other == path) {
                Some((_, sum)) => *sum += count,
                None => mismatches.push((path, count)),
            }
        }
        mismatches
    }

    fn failures(&self, rule: &Rule, failed: &[(u32, &'static str)]) -> Option<Failures> {
        if failed.is_empty() {
            return None;
        }
        let source: Vec<u32> = failed.iter().map(|(row, _)| *row).collect();
        let reasons = failed.iter().map(|(_, reason)| (*reason).to_owned()).collect();
        let columns = rule.errors.stage.evaluate(self.batch, Task { rows: &source, parameters: None });
        let arguments = rule.errors.forms.iter().map(|form| {
            let texts = columns.as_ref().ok().and_then(|columns| form.render(source.len(), columns).ok());
            (form.setting.clone(), texts.unwrap_or_else(|| StringArray::new_null(source.len())))
        });
        let arguments = arguments.collect();
        Some(Failures { source, reasons, arguments })
    }
}

/// The rows of a rule without those that it cannot read.
struct Sound {
    /// Absent if all are sound.
    rows: Option<Vec<u32>>,
    malformed: Vec<(u32, &'static str)>,
}

impl Sound {
    fn of(batch: &Batch<'_>, prepared: &Prepared, rows: &[u32]) -> Self {
        if !prepared.reads_json || !batch.has_malformed() {
            return Self { rows: None, malformed: Vec::new() };
        }
        let (malformed, sound): (Vec<u32>, Vec<u32>) = rows.iter().partition(|row| batch.is_malformed(**row));
        let malformed = malformed.into_iter().map(|row| (row, "the payload is not valid JSON")).collect();
        Self { rows: Some(sound), malformed }
    }

    fn rows<'a>(&'a self, all: &'a [u32]) -> &'a [u32] {
        self.rows.as_deref().unwrap_or(all)
    }
}

/// What a task came to.
struct Results {
    made: Vec<Made>,
    /// Places of the task, ascending.
    failed: Vec<(u32, &'static str)>,
}

/// The part of what was made that belongs to one rule.
struct Part<'a> {
    made: &'a Made,
    range: Range<usize>,
}

impl Part<'_> {
    fn places(&self) -> &[u32] {
        self.made.places.get(self.range.clone()).unwrap_or_default()
    }
}

/// The parts of some columns, as one; `None` if there are none. Nothing is copied unless there are several.
fn joined<'a, T: ByteArrayType>(
    columns: impl Iterator<Item = (&'a GenericByteArray<T>, &'a Part<'a>)>,
) -> Option<GenericByteArray<T>> {
    let mut parts: SmallVec<[_; 1]> =
        columns.map(|(column, part)| column.slice(part.range.start, part.range.len())).collect();
    if parts.len() > 1 {
        let all: Vec<&dyn Array> = parts.iter().map(|part| part as &dyn Array).collect();
        return concat(&all).ok()?.as_bytes_opt::<T>().cloned();
    }
    parts.pop()
}

/// Where those of ascending `items` are whose place is in `range`.
fn within<T>(items: &[T], range: &Range<usize>, place: impl Fn(&T) -> u32) -> Range<usize> {
    let start = items.partition_point(|item| (place(item) as usize) < range.start);
    let rest = items.get(start..).unwrap_or_default();
    start..start + rest.partition_point(|item| (place(item) as usize) < range.end)
}

fn ascending(mut failed: Vec<(u32, &'static str)>) -> Vec<(u32, &'static str)> {
    failed.sort_unstable();
    failed
}

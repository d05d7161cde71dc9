//! Rules over the rows that are for them: which match, and what values they make.
//!
//! Rules with many rows are evaluated one by one, equal expressions over the same rows once; those with few rows
//! together, by the shape of their expressions.

use std::{ops::Range, slice, sync::Arc};

use arrow::array::{Array, ArrayRef, AsArray};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{
    batch::{Batch, Written},
    compute::{Computed, Pair, compute},
    index::{Index, Part, Parts},
    route::Routed,
    rule::Rule,
};

/// Rows from which on a rule is evaluated by itself: then its expressions with literals in place are quicker than
/// picking rows and literals for many rules at once.
const ENOUGH_ROWS: usize = 64;
/// Rows that are evaluated together at most, and the bytes of their payloads. A rule is never split.
const MAX_TOGETHER: usize = 16_384;
const MAX_PAYLOADS: usize = 32 << 20;

const MALFORMED: &str = "the payload is not valid JSON";

/// A rule at work.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) rule: &'a Arc<Rule>,
    pub(super) parts: &'a Parts,
    /// Which lists of rows are its own, ascending: those for it, those of them that it can read, those that match.
    pub(super) read: Range<usize>,
    sound: Range<usize>,
    pub(super) matched: Range<usize>,
    /// For each value that is computed, in order, where it is.
    pub(super) computed: SmallVec<[Place; 2]>,
    /// Rows that failed before it was known whether they match, and why.
    pub(super) failed: Vec<(u32, &'static str)>,
    /// Matching rows of which a value failed, ascending, and why.
    pub(super) spoiled: Vec<(u32, &'static str)>,
}

/// Where the values of a member's matching rows are: in a column, from a row on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) column: usize,
    pub(super) start: usize,
}

/// The rules of a batch at work.
pub(super) struct Run<'a> {
    pub(super) index: &'a Index,
    pub(super) batch: &'a Batch<'a>,
    /// Lists of rows, one after the other.
    rows: Vec<u32>,
    /// For lists of rows some of which may be malformed: the others, and those that are.
    sorted: HashMap<Range<usize>, (Range<usize>, Vec<u32>)>,
    pub(super) members: Vec<Member<'a>>,
    pub(super) columns: Vec<(ArrayRef, Written)>,
}

impl Member<'_> {
    /// Whether a value of a matching row failed.
    pub(super) fn is_spoiled(&self, row: u32) -> bool {
        !self.spoiled.is_empty() && self.spoiled.binary_search_by_key(&row, |(spoiled, _)| *spoiled).is_ok()
    }
}

impl<'a> Run<'a> {
    /// All rules for which there are rows.
    pub(super) fn all(index: &'a Index, batch: &'a Batch<'a>, routed: Routed) -> Self {
        let mut pairs: Vec<(u32, usize)> = Vec::new();
        for (number, route) in routed.routes.iter().enumerate() {
            pairs.extend(route.rules.iter().map(|rule| (*rule, number)));
        }
        pairs.sort_unstable();
        let ranges: Vec<Range<usize>> = (0..routed.routes.len()).map(|route| routed.range(route)).collect();
        let mut run = Self::new(index, batch, routed.rows);
        run.members.reserve(pairs.len());
        // Rules with the same routes have the same rows.
        let mut merged: HashMap<Vec<usize>, Range<usize>> = HashMap::new();
        for routes in pairs.chunk_by(|(a, _), (b, _)| a == b) {
            let read = match routes {
                [(_, route)] => ranges.get(*route).cloned().unwrap_or_default(),
                routes => {
                    let key: Vec<usize> = routes.iter().map(|(_, route)| *route).collect();
                    let parts = key.iter().filter_map(|route| ranges.get(*route).cloned());
                    merged.entry(key.clone()).or_insert_with(|| run.merge(parts)).clone()
                }
            };
            run.add(routes.first().map_or(0, |(rule, _)| *rule as usize), read);
        }
        run.work();
        run
    }

    /// One rule, over rows that are for it.
    pub(super) fn one(index: &'a Index, batch: &'a Batch<'a>, rule: usize, rows: Vec<u32>) -> Self {
        let read = 0..rows.len();
        let mut run = Self::new(index, batch, rows);
        run.add(rule, read);
        run.work();
        run
    }

    fn new(index: &'a Index, batch: &'a Batch<'a>, rows: Vec<u32>) -> Self {
        Self { index, batch, rows, sorted: HashMap::new(), members: Vec::new(), columns: Vec::new() }
    }

    pub(super) fn list(&self, range: &Range<usize>) -> &[u32] {
        self.rows.get(range.clone()).unwrap_or_default()
    }

    fn merge(&mut self, parts: impl Iterator<Item = Range<usize>>) -> Range<usize> {
        let start = self.rows.len();
        for part in parts {
            self.rows.extend_from_within(part);
        }
        if let Some(merged) = self.rows.get_mut(start..) {
            merged.sort_unstable();
        }
        start..self.rows.len()
    }

    fn add(&mut self, number: usize, read: Range<usize>) {
        let (Some(rule), Some(parts)) = (self.index.rules.get(number), self.index.parts.get(number)) else { return };
        let (mut sound, mut failed) = (read.clone(), Vec::new());
        if parts.inputs.is_some() && self.batch.has_malformed() {
            let malformed;
            (sound, malformed) = self.sorted_out(&read);
            failed.extend(malformed.iter().map(|row| (*row, MALFORMED)));
        }
        let matched = sound.clone();
        let computed = SmallVec::new();
        self.members.push(Member { rule, parts, read, sound, matched, computed, failed, spoiled: Vec::new() });
    }

    /// The rows of a list that are not malformed, and those that are. Found out once for all rules that read the list.
    fn sorted_out(&mut self, read: &Range<usize>) -> (Range<usize>, &[u32]) {
        if !self.sorted.contains_key(read) {
            let is_malformed = |row: &u32| self.batch.is_malformed(*row);
            let (malformed, others): (Vec<u32>, Vec<u32>) = self.list(read).iter().partition(|row| is_malformed(row));
            let mut sound = read.clone();
            if !malformed.is_empty() {
                sound = self.rows.len()..self.rows.len() + others.len();
                self.rows.extend(others);
            }
            self.sorted.insert(read.clone(), (sound, malformed));
        }
        match self.sorted.get(read) {
            Some((sound, malformed)) => (sound.clone(), malformed),
            None => (read.clone(), &[]),
        }
    }

    fn work(&mut self) {
        self.filter();
        self.project();
    }

    fn filter(&mut self) {
        let mut jobs = Vec::with_capacity(self.members.len());
        let mut known: HashMap<(u32, Range<usize>), Range<usize>> = HashMap::new();
        self.rows.reserve(self.rows.len());
        for at in 0..self.members.len() {
            let Some(member) = self.members.get_mut(at) else { continue };
            let Some(expression) = member.parts.predicate.filter(|_| !member.sound.is_empty()) else { continue };
            let key = (expression, member.sound.clone());
            if let Some(matched) = known.get(&key) {
                member.matched = matched.clone();
                continue;
            }
            let failures = member.failed.len();
            let job = Job { shape: self.shape(expression), expression, member: at, value: 0 };
            if key.1.len() < ENOUGH_ROWS {
                jobs.push(job);
                continue;
            }
            self.filter_by(&[job]);
            // What fails is counted for each rule.
            if let Some(member) = self.members.get(at).filter(|member| member.failed.len() == failures) {
                known.insert(key, member.matched.clone());
            }
        }
        self.together(jobs, |member| &member.sound, Self::filter_by);
    }

    fn filter_by(&mut self, jobs: &[Job]) {
        let pairs = self.pairs(jobs, |member| &member.sound);
        let Computed { array, failed } = match compute(self.index, self.batch, &pairs) {
            Ok(computed) => computed,
            Err(_) if jobs.len() > 1 => return jobs.iter().for_each(|job| self.filter_by(slice::from_ref(job))),
            Err(fault) => Computed::failed(pairs.len(), &fault),
        };
        // Anything but booleans can only be NULL, which is no match.
        let is_match = array.as_boolean_opt().map(|values| match values.nulls() {
            Some(nulls) => values.values() & nulls.inner(),
            None => values.values().clone(),
        });
        let (mut start, mut failed) = (0, failed.into_iter().peekable());
        for job in jobs {
            let Some(member) = self.members.get_mut(job.member) else { continue };
            let range = start..start + member.sound.len();
            start = range.end;
            let first = self.rows.len();
            if let Some(is_match) = &is_match {
                let places = range.clone().filter(|place| is_match.value(*place));
                self.rows.extend(places.filter_map(|place| Some(pairs.get(place)?.1)));
            }
            member.matched = first..self.rows.len();
            while let Some((place, reason)) = failed.next_if(|(place, _)| *place < range.end) {
                member.failed.extend(pairs.get(place).map(|(_, row)| (*row, reason)));
            }
        }
    }

    fn project(&mut self) {
        let mut jobs = Vec::new();
        let mut known: HashMap<(u32, Range<usize>), Place> = HashMap::new();
        for at in 0..self.members.len() {
            let Some(member) = self.members.get(at) else { continue };
            if member.matched.is_empty() {
                continue;
            }
            let (parts, matched) = (member.parts, member.matched.clone());
            let computed = parts.values.iter().filter_map(|part| match part {
                Part::Computed { expression, .. } => Some(*expression),
                Part::Input { .. } | Part::Literal => None,
            });
            for (value, expression) in computed.enumerate() {
                let key = (expression, matched.clone());
                let job = Job { shape: self.shape(expression), expression, member: at, value };
                let Some(member) = self.members.get_mut(at) else { continue };
                if let Some(place) = known.get(&key) {
                    member.computed.push(*place);
                    continue;
                }
                member.computed.push(Place::default());
                if matched.len() < ENOUGH_ROWS {
                    jobs.push(job);
                    continue;
                }
                self.project_by(&[job]);
                // What fails is counted for each rule.
                let member = self.members.get(at).filter(|member| member.spoiled.is_empty());
                if let Some(place) = member.and_then(|member| member.computed.get(value)) {
                    known.insert(key, *place);
                }
            }
        }
        self.together(jobs, |member| &member.matched, Self::project_by);
    }

    fn project_by(&mut self, jobs: &[Job]) {
        let pairs = self.pairs(jobs, |member| &member.matched);
        let Computed { array, failed } = match compute(self.index, self.batch, &pairs) {
            Ok(computed) => computed,
            // Together their values may be too large for one column.
            Err(_) if jobs.len() > 1 => return jobs.iter().for_each(|job| self.project_by(slice::from_ref(job))),
            Err(fault) => Computed::failed(pairs.len(), &fault),
        };
        let column = self.columns.len();
        self.columns.push((array, Written::default()));
        let (mut start, mut failed) = (0, failed.into_iter().peekable());
        for job in jobs {
            let Some(member) = self.members.get_mut(job.member) else { continue };
            if let Some(place) = member.computed.get_mut(job.value) {
                *place = Place { column, start };
            }
            start += member.matched.len();
            let known = member.spoiled.len();
            while let Some((place, reason)) = failed.next_if(|(place, _)| *place < start) {
                member.spoiled.extend(pairs.get(place).map(|(_, row)| (*row, reason)));
            }
            if known > 0 && member.spoiled.len() > known {
                member.spoiled.sort_unstable();
            }
        }
    }

    /// Runs jobs of one shape together, as many as fit.
    fn together(
        &mut self,
        mut jobs: Vec<Job>,
        rows: for<'m> fn(&'m Member<'a>) -> &'m Range<usize>,
        run: impl Fn(&mut Self, &[Job]),
    ) {
        // Stable, so that the rows of a member come before those of the next.
        jobs.sort_by_key(|job| job.shape);
        for jobs in jobs.chunk_by(|a, b| a.shape == b.shape) {
            let mut rest = jobs;
            while !rest.is_empty() {
                let (mut count, mut bytes) = (0, 0);
                let fitting = rest.iter().take_while(|job| {
                    let rows = self.members.get(job.member).map_or(&[][..], |member| self.list(rows(member)));
                    count += rows.len();
                    bytes += rows.iter().map(|row| self.batch.payload(*row).len()).sum::<usize>();
                    count <= MAX_TOGETHER && bytes <= MAX_PAYLOADS
                });
                let (first, others) = rest.split_at(fitting.count().max(1));
                run(self, first);
                rest = others;
            }
        }
    }

    fn pairs(&self, jobs: &[Job], rows: for<'m> fn(&'m Member<'a>) -> &'m Range<usize>) -> Vec<Pair> {
        let mut pairs = Vec::with_capacity(jobs.len());
        for job in jobs {
            let Some(member) = self.members.get(job.member) else { continue };
            pairs.extend(self.list(rows(member)).iter().map(|row| (job.expression, *row)));
        }
        pairs
    }

    fn shape(&self, expression: u32) -> u32 {
        self.index.expressions.get(expression as usize).map_or(0, |one| one.shape)
    }
}

/// An expression to evaluate for a member.
#[derive(Debug, Clone, Copy)]
struct Job {
    shape: u32,
    expression: u32,
    member: usize,
    /// Which of the member's computed values it is.
    value: usize,
}

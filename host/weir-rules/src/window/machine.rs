//! The state machine: records in, closed windows out.

use std::{mem, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    row::{RowConverter, SortField},
};
use datafusion_common::Result;
use hashbrown::HashMap;
use weir_core::{
    Offset,
    schema::Records,
    windows::{WindowLimits, WindowMark, WindowStanding, WindowTally},
};

use super::{
    Frame, WindowPlan,
    clock::{Clock, End},
    close::{Closing, settle},
    feed::{Batch, Step},
    frame::floor,
    groups::{Group, Pane, Slices},
    saved::ends,
    sources::{FUTURE, Source, Sources},
};
use crate::evaluate::RuleSet;

/// Rules that a message may pass through, windows counted.
const MAX_HOPS: u8 = 8;

/// What became of the windows at the end of a range of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// They stay open: more messages follow, or would.
    Leave,
    /// They close: what is there is all there is.
    Close,
}

/// What a batch of records made.
#[derive(Debug)]
pub struct Closed {
    /// The groups of closed windows, with the columns of [`WindowPlan::schema`].
    pub groups: RecordBatch,
    /// For each, by what it closed.
    pub marks: Vec<Mark>,
    /// Messages that came too late.
    pub(crate) late: Vec<(WindowMark, usize)>,
}

#[derive(Debug, Clone, Copy)]
pub struct Mark {
    pub mark: WindowMark,
    pub hop: u8,
}

/// The windows of one SELECT.
#[derive(Debug)]
pub struct Machine {
    pub(super) plan: Arc<WindowPlan>,
    limits: WindowLimits,
    feed: RuleSet,
    pub(super) converter: Option<RowConverter>,
    pub(super) sources: Sources,
    pub(super) keys: HashMap<Box<[u8]>, u32>,
    pub(super) groups: Vec<Option<Group>>,
    pub(super) free: Vec<u32>,
    /// Panes of all groups.
    pub(super) open: usize,
    pub(super) bytes: usize,
    pub(super) tally: WindowTally,
    /// The pane that was found last.
    last_pane: (i64, i64),
    name: String,
}

/// Whose watermark it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    Device(u32),
    All,
}

impl Machine {
    /// Windows without messages.
    pub fn new(plan: Arc<WindowPlan>, limits: WindowLimits) -> Result<Self> {
        let fields: Vec<SortField> = plan.key_types.iter().cloned().map(SortField::new).collect();
        let converter = if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) };
        let feed = RuleSet::empty().with_programs(vec![plan.feed.clone()]);
        let feed = feed.map_err(|(_, error)| datafusion_common::DataFusionError::Plan(error.message))?;
        Ok(Self {
            sources: Sources::new(plan.lateness),
            plan,
            limits,
            feed,
            converter,
            keys: HashMap::new(),
            groups: Vec::new(),
            free: Vec::new(),
            open: 0,
            bytes: 0,
            tally: WindowTally::default(),
            last_pane: (0, 0),
            name: String::new(),
        })
    }

    pub fn tally(&self) -> WindowTally {
        self.tally
    }

    pub fn standing(&self) -> WindowStanding {
        WindowStanding { open: self.open, devices: self.sources.len(), bytes: self.bytes + self.sources.bytes() }
    }

    /// When a tick would close something, in milliseconds.
    pub fn due(&mut self) -> Option<i64> {
        if self.plan.by_device { self.sources.first_due() } else { self.sources.common_due() }
    }

    /// Takes the next records.
    pub fn push(&mut self, records: &Records) -> Result<Closed> {
        let fed = self.feed.feed(&self.plan.feed.name, records);
        self.tally.read += fed.read;
        self.tally.failed += fed.failed;
        self.tally.matched += fed.rows.len() as u64;
        self.tally.unmatched += fed.read - fed.failed - fed.rows.len() as u64;
        let plan = Arc::clone(&self.plan);
        let batch = Batch::new(&plan, records, fed);
        let mut keys = None;
        if let (Some(converter), true) = (&self.converter, !batch.steps.is_empty()) {
            let columns =
                plan.keys.iter().filter_map(|key| batch.columns.get(*key).cloned()).collect::<Vec<ArrayRef>>();
            if columns.len() == plan.keys.len() {
                keys = Some(converter.convert_columns(&columns)?);
            }
        }
        let mut slices = Slices::new(&plan)?;
        let (mut closings, mut marks, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for step in &batch.steps {
            let (Step::Message { row, .. } | Step::Tick { row }) = *step;
            let before = closings.len();
            let is_late = match *step {
                Step::Tick { row } => {
                    self.tick(records.accepted_at.value(row), &mut closings);
                    false
                }
                Step::Message { row, place } => {
                    let key = keys.as_ref().map(|keys| keys.row(place));
                    let key = key.as_ref().map_or(&[][..], |key| key.as_ref());
                    self.message(&batch, row, place, key, &mut slices, &mut closings)
                }
            };
            if closings.len() == before && !is_late {
                continue;
            }
            let offset = Offset(records.offset.value(row));
            let mut mark = WindowMark { offset, row: 0 };
            settle(closings.get_mut(before..).unwrap_or_default(), &mut mark, &mut marks);
            if is_late {
                late.push((mark, row));
            }
        }
        Ok(Closed { groups: self.columns(closings)?, marks, late })
    }

    pub(super) fn all_groups_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.iter_mut().flatten()
    }

    /// The keys of all groups, in their order.
    pub(super) fn key_columns(&self) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.converter else { return Ok(Vec::new()) };
        let parser = converter.parser();
        let columns = converter.convert_rows(self.groups.iter().flatten().map(|group| parser.parse(&group.key)))?;
        Ok(if self.keys.is_empty() { Vec::new() } else { columns })
    }

    /// The reverse of [`Machine::key_columns`], for `count` groups.
    pub(super) fn keys_of(&self, columns: &[ArrayRef], count: usize) -> Result<Vec<Box<[u8]>>> {
        match &self.converter {
            Some(converter) if count > 0 => {
                let rows = converter.convert_columns(columns)?;
                Ok(rows.iter().map(|row| row.as_ref().into()).collect())
            }
            _ => Ok(vec![Box::default(); count]),
        }
    }

    /// Takes a group with its panes as they were saved.
    pub(super) fn add_restored(&mut self, group: Group) {
        let number = self.groups.len() as u32;
        let whose = if self.plan.by_device { Whose::Device(group.source) } else { Whose::All };
        for end in ends(&self.plan.frame, number, &group) {
            self.await_end(whose, end);
        }
        self.open += group.panes.len();
        self.bytes += group.bytes() + group.panes.iter().map(Pane::bytes).sum::<usize>();
        self.keys.insert(group.key.clone(), number);
        self.groups.push(Some(group));
    }

    /// Takes a message. Says whether it came too late.
    fn message(
        &mut self,
        batch: &Batch<'_>,
        row: usize,
        place: usize,
        key: &[u8],
        slices: &mut Slices,
        closings: &mut Vec<Closing>,
    ) -> bool {
        let records = batch.records;
        let Some(time) = batch.time(row, place) else {
            self.tally.untimed += 1;
            return false;
        };
        let (accepted_at, hop) = (records.accepted_at.value(row), records.hop.value(row));
        self.tally.future += u64::from(time > accepted_at + FUTURE);
        let time = time.min(accepted_at + FUTURE);
        let Some(source) = self.source(records, row, time, accepted_at).filter(|_| hop < MAX_HOPS) else {
            self.tally.refused += 1;
            return false;
        };
        self.sources.hear(source, time, accepted_at);
        let whose = if self.plan.by_device {
            self.advance(Whose::Device(source), self.sources.own_watermark(source), closings);
            Whose::Device(source)
        } else {
            self.sources.activate(source);
            let watermark = self.sources.common_watermark();
            self.advance(Whose::All, watermark, closings);
            Whose::All
        };
        let watermark = self.clock(whose).map_or(i64::MIN, |clock| clock.watermark());
        let plan = Arc::clone(&self.plan);
        let pane = self.pane(time);
        let known = self.keys.get(key).copied();
        let joins = |group: &Group| group.panes.iter().any(|open| open.start < pane.1 && pane.0 < open.end);
        let is_open = match plan.frame {
            Frame::Session { .. } => pane.1 > watermark || known.and_then(|group| self.group(group)).is_some_and(joins),
            Frame::Tumble { .. } | Frame::Hop { .. } => plan.frame.last_end(pane) > watermark,
        };
        if !is_open {
            self.tally.late += 1;
            return true;
        }
        let taken = self.place(known, key, source, pane, watermark, whose).and_then(|place_of| {
            let Some((group, index)) = place_of else { return Ok(false) };
            let Some(pane) =
                self.groups.get_mut(group as usize).and_then(Option::as_mut).and_then(|g| g.panes.get_mut(index))
            else {
                return Ok(false);
            };
            let before = pane.bytes();
            pane.hop = pane.hop.max(hop);
            let taken = pane.take(&plan, batch, place, slices);
            self.bytes = self.bytes - before + pane.bytes();
            taken.map(|()| true)
        });
        if !matches!(taken, Ok(true)) {
            self.tally.refused += 1;
        }
        if plan.by_device {
            self.sources.schedule(source);
        }
        false
    }

    fn tick(&mut self, tick: i64, closings: &mut Vec<Closing>) {
        if self.plan.by_device {
            while let Some((source, watermark)) = self.sources.next_idle(tick) {
                self.advance(Whose::Device(source), watermark, closings);
                self.sources.schedule(source);
            }
        } else {
            let watermark = self.sources.common_watermark_at(tick);
            self.advance(Whose::All, watermark, closings);
        }
        self.sources.forget(tick);
    }

    /// The device of a message, made if it is new. `None`: there are too many.
    fn source(&mut self, records: &Records, row: usize, time: i64, accepted_at: i64) -> Option<u32> {
        let mut name = mem::take(&mut self.name);
        name.clear();
        match (
            weir_core::schema::optional_text(&records.product, row),
            weir_core::schema::optional_text(&records.device, row),
        ) {
            (Some(product), Some(device)) => {
                name.push_str(product);
                name.push('/');
                name.push_str(device);
            }
            // No product begins like this. Where groups tell devices apart, what is of none may be one group.
            _ => {
                name.push('/');
                if !self.plan.by_device || self.plan.by_topic {
                    name.push_str(records.topic.value(row));
                }
            }
        }
        let found = self.sources.find(&name).or_else(|| {
            let room = self.sources.len() < self.limits.groups && self.standing().bytes < self.limits.bytes;
            room.then(|| self.sources.add(&name, Source::new(time, accepted_at)))
        });
        self.name = name;
        found
    }

    fn pane(&mut self, time: i64) -> (i64, i64) {
        if matches!(self.plan.frame, Frame::Session { .. }) || !(self.last_pane.0..self.last_pane.1).contains(&time) {
            self.last_pane = self.plan.frame.pane(time);
        }
        self.last_pane
    }

    /// The pane of a group for a message, made if there is none. `None`: a limit is reached.
    fn place(
        &mut self,
        known: Option<u32>,
        key: &[u8],
        source: u32,
        pane: (i64, i64),
        watermark: i64,
        whose: Whose,
    ) -> Result<Option<(u32, usize)>> {
        let plan = Arc::clone(&self.plan);
        if let Some(group) = known {
            let joined = match plan.frame {
                Frame::Session { .. } => self.join(group, pane)?,
                Frame::Tumble { .. } | Frame::Hop { .. } => {
                    self.group(group).and_then(|group| group.panes.iter().rposition(|open| open.start == pane.0))
                }
            };
            if let Some(index) = joined {
                // Beyond its bytes a rule takes nothing, lest lists and sets grow on.
                return Ok((self.standing().bytes < self.limits.bytes).then_some((group, index)));
            }
        }
        if self.open >= self.limits.groups || self.standing().bytes >= self.limits.bytes {
            return Ok(None);
        }
        let made = Pane::new(&plan, pane)?;
        let number = known.unwrap_or_else(|| self.add_group(key, source));
        self.open += 1;
        self.bytes += made.bytes();
        let Some(group) = self.groups.get_mut(number as usize).and_then(Option::as_mut) else { return Ok(None) };
        let index = group.panes.partition_point(|open| open.start < pane.0);
        group.panes.insert(index, made);
        let awaited = match plan.frame {
            Frame::Tumble { .. } | Frame::Session { .. } => Some(pane.1),
            Frame::Hop { slide, .. } => {
                // The first window that is not closed yet.
                let end = if watermark < pane.1 { pane.1 } else { floor(watermark, slide, 0) + slide };
                let is_next = group.next.is_none_or(|next| end < next);
                is_next.then(|| *group.next.insert(end))
            }
        };
        if let Some(end) = awaited {
            self.await_end(whose, End { end, group: number, start: pane.0 });
        }
        Ok(Some((number, index)))
    }

    fn add_group(&mut self, key: &[u8], source: u32) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.groups.push(None);
            (self.groups.len() - 1) as u32
        });
        let group = Group { key: key.into(), source, panes: Default::default(), next: None };
        self.bytes += group.bytes();
        self.keys.insert(key.into(), number);
        if let Some(place) = self.groups.get_mut(number as usize) {
            *place = Some(group);
        }
        number
    }

    /// Makes one session of all that a message joins, and says which it is.
    fn join(&mut self, number: u32, (start, end): (i64, i64)) -> Result<Option<usize>> {
        let plan = Arc::clone(&self.plan);
        let Some(group) = self.groups.get_mut(number as usize).and_then(Option::as_mut) else { return Ok(None) };
        let joins = |open: &Pane| open.start < end && start < open.end;
        let Some(first) = group.panes.iter().position(joins) else { return Ok(None) };
        let before: usize = group.panes.iter().map(Pane::bytes).sum();
        while let Some(next) = group.panes.get(first + 1)
            && joins(next)
        {
            let next = group.panes.remove(first + 1);
            self.open -= 1;
            if let Some(session) = group.panes.get_mut(first) {
                session.merge(&plan, next)?;
            }
        }
        if let Some(session) = group.panes.get_mut(first) {
            (session.start, session.end) = (session.start.min(start), session.end.max(end));
        }
        self.bytes = self.bytes - before + group.panes.iter().map(Pane::bytes).sum::<usize>();
        Ok(Some(first))
    }

    fn group(&self, number: u32) -> Option<&Group> {
        self.groups.get(number as usize)?.as_ref()
    }

    pub(super) fn clock(&mut self, whose: Whose) -> Option<&mut Clock> {
        match whose {
            Whose::Device(source) => self.sources.get_mut(source).map(|source| &mut source.clock),
            Whose::All => Some(&mut self.sources.common.clock),
        }
    }

    pub(super) fn await_end(&mut self, whose: Whose, end: End) {
        if let Some(clock) = self.clock(whose) {
            clock.await_end(end);
        }
    }
}

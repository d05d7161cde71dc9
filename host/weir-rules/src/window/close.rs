//! Closing windows: what the watermark has passed becomes rows.

use std::sync::Arc;

use arrow::array::{RecordBatch, TimestampMillisecondArray};
use datafusion_common::{Result, ScalarValue};
use weir_core::{Offset, windows::WindowMark};

use super::{
    Frame,
    clock::{Clock, End},
    groups::{Pane, evaluate_all},
    machine::{Closed, Machine, Mark, Whose},
};

/// A group of a window that closed.
#[derive(Debug)]
pub(super) struct Closing {
    end: i64,
    start: i64,
    key: Box<[u8]>,
    values: Vec<ScalarValue>,
    hop: u8,
}

impl Machine {
    /// Closes everything. `at`: one past the last record.
    pub fn close_all(&mut self, at: Offset) -> Result<Closed> {
        let mut closings = Vec::new();
        if self.plan.by_device {
            let sources: Vec<u32> = self.sources.iter().map(|(_, number, _)| number).collect();
            sources.into_iter().for_each(|number| self.advance(Whose::Device(number), i64::MAX, &mut closings));
        } else {
            self.advance(Whose::All, i64::MAX, &mut closings);
        }
        let mut marks = Vec::new();
        settle(&mut closings, &mut WindowMark { offset: at, row: 0 }, &mut marks);
        Ok(Closed { groups: self.columns(closings)?, marks, late: Vec::new() })
    }

    /// Moves a watermark, and closes what it passes.
    pub(super) fn advance(&mut self, whose: Whose, to: i64, closings: &mut Vec<Closing>) {
        if !self.clock(whose).is_some_and(|clock| clock.advance(to)) {
            return;
        }
        while let Some(end) = self.clock(whose).and_then(Clock::passed) {
            self.close(whose, to, end, closings);
        }
    }

    fn close(&mut self, whose: Whose, watermark: i64, end: End, closings: &mut Vec<Closing>) {
        let plan = Arc::clone(&self.plan);
        let Some(group) = self.groups.get_mut(end.group as usize).and_then(Option::as_mut) else { return };
        let (panes, bytes) = (group.panes.len(), group.panes.iter().map(Pane::bytes).sum::<usize>());
        let mut again: Vec<i64> = Vec::new();
        let mut close = |group_key: &[u8], span: (i64, i64), hop: u8, values: Result<Vec<ScalarValue>>| {
            self.tally.closed += 1;
            match values {
                Ok(values) => closings.push(Closing { end: span.1, start: span.0, key: group_key.into(), values, hop }),
                Err(error) => {
                    self.tally.spoiled += 1;
                    drop(error);
                }
            }
        };
        match plan.frame {
            Frame::Tumble { .. } => {
                if let Some(index) = group.panes.iter().position(|pane| pane.start == end.start) {
                    let mut pane = group.panes.remove(index);
                    let values = pane.evaluate(&plan);
                    close(&group.key, (pane.start, pane.end), pane.hop, values);
                }
            }
            Frame::Hop { width, slide } => {
                if group.next != Some(end.end) {
                    return;
                }
                let start = end.end - width;
                let inside = |pane: &Pane| pane.start >= start && pane.start < end.end;
                let first = group.panes.iter().position(inside);
                if let Some(first) = first {
                    let count = group.panes.iter().skip(first).take_while(|pane| inside(pane)).count();
                    if let Some(panes) = group.panes.get_mut(first..first + count) {
                        let hop = panes.iter().map(|pane| pane.hop).max().unwrap_or(0);
                        let values = evaluate_all(&plan, panes);
                        close(&group.key, (start, end.end), hop, values);
                    }
                }
                group.panes.retain(|pane| pane.start + width > end.end);
                group.next = group.panes.first().map(|pane| (pane.start + slide).max(end.end + slide));
                again.extend(group.next);
            }
            Frame::Session { .. } => {
                let mut index = 0;
                while let Some(session) = group.panes.get_mut(index) {
                    if session.end <= watermark {
                        let mut session = group.panes.remove(index);
                        let values = session.evaluate(&plan);
                        close(&group.key, (session.start, session.end), session.hop, values);
                        continue;
                    }
                    if session.awaited <= end.end {
                        session.awaited = session.end;
                        again.push(session.end);
                    }
                    index += 1;
                }
            }
        }
        self.open = self.open + group.panes.len() - panes;
        self.bytes = self.bytes + group.panes.iter().map(Pane::bytes).sum::<usize>() - bytes;
        if group.panes.is_empty() {
            self.bytes -= group.bytes();
            self.keys.remove(&group.key);
            self.free.push(end.group);
            if let Some(place) = self.groups.get_mut(end.group as usize) {
                *place = None;
            }
        }
        for end in again.into_iter().map(|again| End { end: again, ..end }) {
            self.await_end(whose, end);
        }
    }

    /// Closed groups as columns.
    pub(super) fn columns(&mut self, closings: Vec<Closing>) -> Result<RecordBatch> {
        if closings.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.plan.schema)));
        }
        let mut columns = Vec::with_capacity(self.plan.schema.fields().len());
        if let Some(converter) = &self.converter {
            let parser = converter.parser();
            columns.extend(converter.convert_rows(closings.iter().map(|closing| parser.parse(&closing.key)))?);
        }
        for (number, aggregate) in self.plan.aggregates.iter().enumerate() {
            let data_type = aggregate.function.field().data_type().clone();
            let values = closings.iter().map(|closing| closing.values.get(number).cloned());
            let values = values.map(|value| value.map_or_else(|| ScalarValue::try_from(&data_type), Ok));
            columns.push(ScalarValue::iter_to_array(values.collect::<Result<Vec<_>>>()?)?);
        }
        for bound in [|closing: &Closing| closing.start, |closing: &Closing| closing.end] {
            let times = closings.iter().map(bound).collect::<Vec<_>>();
            columns.push(Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC")));
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.plan.schema), columns)?)
    }
}

/// Puts what one record closed in an order of its own, and names it.
pub(super) fn settle(closings: &mut [Closing], mark: &mut WindowMark, marks: &mut Vec<Mark>) {
    closings.sort_by(|a, b| (a.end, a.start, &a.key).cmp(&(b.end, b.start, &b.key)));
    for closing in closings {
        marks.push(Mark { mark: *mark, hop: closing.hop + 1 });
        mark.row += 1;
    }
}

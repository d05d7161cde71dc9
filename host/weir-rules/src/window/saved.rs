//! The state of windows as bytes.
//!
//! The first byte is the version. Then come devices and groups, and, as Arrow IPC, the keys and the states of aggregates.
//! What it was made by is in it, so that it is never taken for the state of other windows.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema},
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err};
use serde::{Deserialize, Serialize};
use weir_core::windows::{WindowLimits, WindowShape, WindowTally};

use super::{
    Frame, WindowPlan,
    clock::{Clock, End},
    groups::{Group, Pane},
    machine::Machine,
    sources::Source,
};

const VERSION: u8 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u8,
    shape: WindowShape,
    tally: WindowTally,
    swept: i64,
    /// Watermark, latest time and last acceptance of all devices.
    common: (i64, i64, i64),
    sources: Vec<SavedSource>,
    groups: Vec<SavedGroup>,
    /// The keys of the groups, and the states of the panes of all groups in order.
    keys: Vec<u8>,
    states: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedSource {
    name: String,
    latest: i64,
    heard: i64,
    watermark: i64,
    active: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedGroup {
    /// Its place among the sources.
    source: u32,
    next: Option<i64>,
    panes: Vec<SavedPane>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedPane {
    start: i64,
    end: i64,
    count: u64,
    hop: u8,
}

impl Machine {
    /// Windows as they were saved; empty, with the reason, if those are none of this plan.
    pub fn open(plan: Arc<WindowPlan>, limits: WindowLimits, saved: Option<&[u8]>) -> Result<(Self, Option<String>)> {
        let mut machine = Self::new(plan, limits)?;
        let Some(bytes) = saved else { return Ok((machine, None)) };
        match bytes.first() {
            Some(&VERSION) => {}
            Some(newer) => {
                let reason = format!("they were saved in format {newer}, and this version reads format {VERSION}");
                return Ok((machine, Some(reason)));
            }
            None => return Ok((machine, Some("nothing is left of them".to_owned()))),
        }
        let damaged = |error: postcard::Error| internal_datafusion_err!("they cannot be read: {error}");
        let read = postcard::from_bytes::<Saved>(bytes).map_err(damaged);
        let taken = read.and_then(|saved| match saved.shape.change(&machine.plan.shape) {
            Some(change) => Ok(Some(change)),
            None => machine.restore(saved).map(|()| None),
        });
        match taken {
            Ok(lost) => Ok((machine, lost)),
            Err(error) => {
                let fresh = Self::new(Arc::clone(&machine.plan), limits)?;
                Ok((fresh, Some(crate::plan::plain(&error))))
            }
        }
    }

    /// The state. The windows stay as they are.
    pub fn save(&mut self) -> Result<Vec<u8>> {
        let mut places = hashbrown::HashMap::new();
        let mut sources = Vec::with_capacity(self.sources.len());
        for (name, number, source) in self.sources.iter() {
            places.insert(number, sources.len() as u32);
            let Source { latest, heard, active, .. } = *source;
            let watermark = source.clock.watermark();
            sources.push(SavedSource { name: name.to_owned(), latest, heard, watermark, active });
        }
        let plan = Arc::clone(&self.plan);
        let mut groups = Vec::new();
        let mut columns: Vec<Vec<ScalarValue>> = Vec::new();
        let keys = self.key_columns()?;
        for group in self.all_groups_mut() {
            let mut panes = Vec::new();
            for Pane { start, end, count, hop, cells, .. } in &mut group.panes {
                panes.push(SavedPane { start: *start, end: *end, count: *count, hop: *hop });
                let mut column = 0;
                for value in cells.iter_mut().map(|cell| cell.keep()) {
                    for value in value? {
                        if columns.len() == column {
                            columns.push(Vec::new());
                        }
                        if let Some(values) = columns.get_mut(column) {
                            values.push(value.clone());
                        }
                        column += 1;
                    }
                }
            }
            let source = places.get(&group.source).copied().unwrap_or(u32::MAX);
            groups.push(SavedGroup { source, next: group.next, panes });
        }
        let common = &self.sources.common;
        let saved = Saved {
            version: VERSION,
            shape: plan.shape.clone(),
            tally: self.tally,
            swept: self.sources.swept,
            common: (common.clock.watermark(), common.latest, common.heard),
            sources,
            groups,
            keys: to_ipc(keys)?,
            states: to_ipc(columns.into_iter().map(ScalarValue::iter_to_array).collect::<Result<_>>()?)?,
        };
        postcard::to_allocvec(&saved).map_err(|error| internal_datafusion_err!("{error}"))
    }

    fn restore(&mut self, saved: Saved) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        self.tally = saved.tally;
        self.sources.swept = saved.swept;
        let (watermark, latest, heard) = saved.common;
        let common = &mut self.sources.common;
        (common.clock, common.latest, common.heard) = (Clock::at(watermark), latest, heard);
        let mut numbers = Vec::with_capacity(saved.sources.len());
        for source in saved.sources {
            let mut restored = Source::new(source.latest, source.heard);
            restored.clock = Clock::at(source.watermark);
            let number = self.sources.add(&source.name, restored);
            if source.active {
                self.sources.activate(number);
            }
            numbers.push(number);
        }
        let keys = self.keys_of(&from_ipc(&saved.keys)?, saved.groups.len())?;
        let states = States::new(&plan, &saved.shape, from_ipc(&saved.states)?)?;
        let mut row = 0;
        for (key, group) in keys.into_iter().zip(saved.groups) {
            let source = numbers.get(group.source as usize).copied().unwrap_or(u32::MAX);
            let mut restored = Group { key, source, panes: Default::default(), next: group.next };
            for SavedPane { start, end, count, hop } in group.panes {
                restored.panes.push(Pane::kept((start, end), count, hop, states.row(row)?));
                row += 1;
            }
            self.add_restored(restored);
        }
        if plan.by_device {
            numbers.into_iter().for_each(|number| self.sources.schedule(number));
        }
        Ok(())
    }
}

/// What a group waits for.
pub(super) fn ends(frame: &Frame, number: u32, group: &Group) -> Vec<End> {
    match frame {
        Frame::Hop { .. } => group.next.map(|end| End { end, group: number, start: 0 }).into_iter().collect(),
        Frame::Tumble { .. } | Frame::Session { .. } => {
            group.panes.iter().map(|pane| End { end: pane.end, group: number, start: pane.start }).collect()
        }
    }
}

/// The saved states of aggregates, a row for each pane.
struct States {
    /// For each aggregate its columns.
    aggregates: Vec<Vec<ArrayRef>>,
}

impl States {
    fn new(plan: &WindowPlan, saved: &WindowShape, columns: Vec<ArrayRef>) -> Result<Self> {
        let mut aggregates: Vec<Vec<ArrayRef>> = vec![Vec::new(); plan.aggregates.len()];
        if columns.is_empty() {
            return Ok(Self { aggregates });
        }
        // Aggregates that are gone have columns too.
        let mut columns = columns.into_iter();
        for (text, count) in &saved.aggregates {
            let own: Vec<ArrayRef> = columns.by_ref().take(*count).collect();
            let index = plan.shape.aggregates.iter().position(|(known, _)| known == text);
            let Some(index) = index else { continue };
            let fields = plan.aggregates.get(index).map(|aggregate| aggregate.function.state_fields()).transpose()?;
            for (field, column) in fields.unwrap_or_default().iter().zip(&own) {
                if !is_same(field.data_type(), column.data_type()) {
                    return Err(internal_datafusion_err!("{text} was of another type"));
                }
            }
            if let Some(place) = aggregates.get_mut(index) {
                *place = own;
            }
        }
        Ok(Self { aggregates })
    }

    fn row(&self, row: usize) -> Result<Vec<Vec<ScalarValue>>> {
        let values =
            |columns: &Vec<ArrayRef>| columns.iter().map(|column| ScalarValue::try_from_array(column, row)).collect();
        self.aggregates.iter().map(values).collect()
    }
}

/// Whether a state can be what a field says. What is nested is of the engine's own making.
fn is_same(field: &DataType, column: &DataType) -> bool {
    field.is_nested() || column.is_nested() || field == column
}

fn to_ipc(columns: Vec<ArrayRef>) -> Result<Vec<u8>> {
    let fields = columns
        .iter()
        .enumerate()
        .map(|(number, column)| Field::new(number.to_string(), column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &schema)?;
    writer.write(&batch)?;
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

fn from_ipc(bytes: &[u8]) -> Result<Vec<ArrayRef>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let batch = StreamReader::try_new(bytes, None)?.next().transpose()?;
    Ok(batch.map(|batch| batch.columns().to_vec()).unwrap_or_default())
}

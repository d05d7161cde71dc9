//! Columns of rows and settings while they are written: rules of a batch share them, as long as they are small.

use std::mem;

use arrow::{
    array::{BinaryArray, NullBufferBuilder, StringArray},
    buffer::{Buffer, OffsetBuffer},
};

/// Bytes of a column from which on the next rule begins another. Rows that wait for a slow target keep their whole column
/// in memory: beside their own, they should not keep much more of others than the frame that they keep anyway.
const ENOUGH_BYTES: usize = 1 << 20;

/// Rows for which a column has room from the start at most.
const MAX_ROOM: usize = ENOUGH_BYTES / ROW_BYTES;
/// Bytes set aside for each row, and for each setting.
const ROW_BYTES: usize = 64;
const TEXT_BYTES: usize = 32;

const TOO_LARGE: &str = "the row is too large";

/// A column that grows, and those that were full before it.
#[derive(Debug, Default)]
pub(crate) struct Columns<C> {
    full: Vec<C>,
    pub(crate) last: C,
}

/// Which column, and which row of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct At {
    pub(crate) column: usize,
    pub(crate) start: usize,
}

pub(crate) trait Grow: Default {
    type Array;

    fn with_capacity(rows: usize) -> Self;
    fn rows(&self) -> usize;
    fn bytes(&self) -> usize;
    fn finish(self) -> Self::Array;
}

impl<C: Grow> Columns<C> {
    /// `rows`: how many will be pushed.
    pub(crate) fn new(rows: usize) -> Self {
        Self { full: Vec::new(), last: C::with_capacity(rows.min(MAX_ROOM)) }
    }

    /// Where what is pushed next will be.
    pub(crate) fn begin(&mut self) -> At {
        if self.last.bytes() > ENOUGH_BYTES {
            self.full.push(mem::take(&mut self.last));
        }
        At { column: self.full.len(), start: self.last.rows() }
    }

    pub(crate) fn finish(self) -> Vec<C::Array> {
        self.full.into_iter().chain([self.last]).map(C::finish).collect()
    }
}

/// Rows as they are written.
#[derive(Debug)]
pub(crate) struct RowColumn {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Default for RowColumn {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl RowColumn {
    #[inline]
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), &'static str> {
        let before = self.bytes.len();
        write(&mut self.bytes);
        let Ok(end) = i32::try_from(self.bytes.len()) else {
            self.bytes.truncate(before);
            return Err(TOO_LARGE);
        };
        self.offsets.push(end);
        Ok(())
    }
}

impl Grow for RowColumn {
    type Array = BinaryArray;

    fn with_capacity(rows: usize) -> Self {
        let mut column = Self { bytes: Vec::with_capacity(rows * ROW_BYTES), offsets: Vec::with_capacity(rows + 1) };
        column.offsets.push(0);
        column
    }

    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn finish(self) -> BinaryArray {
        BinaryArray::new(OffsetBuffer::new(self.offsets.into()), Buffer::from_vec(self.bytes), None)
    }
}

/// Settings as they are written.
#[derive(Debug)]
pub(crate) struct TextColumn {
    all: String,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Default for TextColumn {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl TextColumn {
    /// Pushes what is written, or NULL if it says false.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut String) -> bool) {
        let before = self.all.len();
        let is_written = write(&mut self.all);
        match i32::try_from(self.all.len()) {
            Ok(end) if is_written => {
                self.offsets.push(end);
                self.nulls.append_non_null();
            }
            _ => {
                self.all.truncate(before);
                self.offsets.push(self.offsets.last().copied().unwrap_or(0));
                self.nulls.append_null();
            }
        }
    }
}

impl Grow for TextColumn {
    type Array = StringArray;

    fn with_capacity(rows: usize) -> Self {
        let mut column = Self {
            all: String::with_capacity(rows * TEXT_BYTES),
            offsets: Vec::with_capacity(rows + 1),
            nulls: NullBufferBuilder::new(rows),
        };
        column.offsets.push(0);
        column
    }

    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn bytes(&self) -> usize {
        self.all.len()
    }

    fn finish(mut self) -> StringArray {
        let nulls = self.nulls.finish();
        StringArray::new(OffsetBuffer::new(self.offsets.into()), Buffer::from_vec(self.all.into_bytes()), nulls)
    }
}

//! Columns while they are gathered. Optional ones hold only the values that are there, and their rows.

use arrow::{
    array::{ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, GenericByteArray, PrimitiveArray},
    buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{ArrowNativeType, ByteArrayType},
    error::ArrowError,
};

/// Bytes of capacity that a column keeps for the next group.
const KEPT: usize = 4 << 20;

/// Texts or bytes, one in each row.
#[derive(Debug, Default)]
pub(super) struct RequiredBytes {
    values: Vec<u8>,
    /// Where each value ends. The bounds on a group keep them far below 2^31.
    ends: Vec<i32>,
}

impl RequiredBytes {
    pub(super) fn push(&mut self, value: &[u8]) {
        self.values.extend_from_slice(value);
        self.ends.push(self.values.len() as i32);
    }

    pub(super) fn build<T: ByteArrayType<Offset = i32>>(&self) -> Result<GenericByteArray<T>, ArrowError> {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend_from_slice(&self.ends);
        bytes(offsets, &self.values, None)
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.values.shrink_to(KEPT);
        self.ends.clear();
    }
}

/// Texts or bytes that a row may lack.
#[derive(Debug, Default)]
pub(super) struct OptionalBytes {
    rows: Vec<u32>,
    present: RequiredBytes,
}

impl OptionalBytes {
    pub(super) fn push(&mut self, row: usize, value: &[u8]) {
        self.rows.push(row as u32);
        self.present.push(value);
    }

    pub(super) fn push_some(&mut self, row: usize, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.push(row, value);
        }
    }

    pub(super) fn build<T: ByteArrayType<Offset = i32>>(&self, rows: usize) -> Result<GenericByteArray<T>, ArrowError> {
        if self.rows.is_empty() {
            return Ok(GenericByteArray::new_null(rows));
        }
        if self.rows.len() == rows {
            return self.present.build();
        }
        let mut offsets = Vec::with_capacity(rows + 1);
        let mut last = 0;
        for (row, end) in self.rows.iter().zip(&self.present.ends) {
            // Rows between the present ones are empty: they begin where the last one ended.
            offsets.resize(*row as usize + 1, last);
            last = *end;
        }
        offsets.resize(rows + 1, last);
        bytes(offsets, &self.present.values, Some(validity(&self.rows, rows)))
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.present.clear();
    }
}

/// Numbers that a row may lack.
#[derive(Debug, Default)]
pub(super) struct OptionalNumbers<N> {
    rows: Vec<u32>,
    values: Vec<N>,
}

impl<N: ArrowNativeType> OptionalNumbers<N> {
    pub(super) fn push_some(&mut self, row: usize, value: Option<N>) {
        if let Some(value) = value {
            self.rows.push(row as u32);
            self.values.push(value);
        }
    }

    pub(super) fn build<T: ArrowPrimitiveType<Native = N>>(&self, rows: usize) -> PrimitiveArray<T> {
        if self.rows.is_empty() {
            return PrimitiveArray::new_null(rows);
        }
        let mut values = Vec::with_capacity(rows);
        for (row, value) in self.rows.iter().zip(&self.values) {
            values.resize(*row as usize, N::default());
            values.push(*value);
        }
        values.resize(rows, N::default());
        let validity = (self.rows.len() < rows).then(|| validity(&self.rows, rows));
        PrimitiveArray::new(ScalarBuffer::from(values), validity)
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.values.clear();
    }
}

/// Truth values that are mostly false.
#[derive(Debug, Default)]
pub(super) struct Flags {
    rows: Vec<u32>,
}

impl Flags {
    pub(super) fn push(&mut self, row: usize, value: bool) {
        if value {
            self.rows.push(row as u32);
        }
    }

    pub(super) fn build(&self, rows: usize) -> BooleanArray {
        BooleanArray::new(bits(&self.rows, rows).build(), None)
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}

fn bytes<T: ByteArrayType<Offset = i32>>(
    offsets: Vec<i32>,
    values: &[u8],
    validity: Option<NullBuffer>,
) -> Result<GenericByteArray<T>, ArrowError> {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    GenericByteArray::try_new(offsets, Buffer::from(values), validity)
}

fn validity(present: &[u32], rows: usize) -> NullBuffer {
    NullBuffer::new(bits(present, rows).build())
}

/// `rows` bits, those at `set` being set.
fn bits(set: &[u32], rows: usize) -> BooleanBufferBuilder {
    let mut bits = BooleanBufferBuilder::new(rows);
    bits.append_n(rows, false);
    for row in set {
        bits.set_bit(*row as usize, true);
    }
    bits
}

//! Offsets: the one order of everything.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The place of a record in the log, and its name for ever.
///
/// Offsets strictly increase but are not dense: the high 24 bits are the epoch, which grows by one at each opening of
/// the log, and the low 40 bits count records within it. So a record that was lost before it was durable never shares
/// its offset with a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    pub const ZERO: Self = Self(0);
    const INDEX_BITS: u32 = 40;

    pub fn new(epoch: u32, index: u64) -> Self {
        Self((u64::from(epoch) << Self::INDEX_BITS) | (index & ((1 << Self::INDEX_BITS) - 1)))
    }

    pub fn epoch(self) -> u32 {
        // The shift leaves 24 bits, so the cast keeps every one of them.
        (self.0 >> Self::INDEX_BITS) as u32
    }

    pub fn index(self) -> u64 {
        self.0 & ((1 << Self::INDEX_BITS) - 1)
    }

    /// The offset `rows` places further in the same epoch.
    #[must_use]
    pub fn plus(self, rows: u64) -> Self {
        Self(self.0 + rows)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch(), self.index())
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_is_later_than_any_index() {
        assert!(Offset::new(2, 0) > Offset::new(1, (1 << 40) - 1));
        assert_eq!(Offset::new(3, 7).epoch(), 3);
        assert_eq!(Offset::new(3, 7).plus(2).index(), 9);
    }
}

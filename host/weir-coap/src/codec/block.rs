//! A block's place in a body (RFC 7959 §2.2).

use super::option::{of_uint, uint};

/// Bytes of the largest block.
pub const MAX_SIZE: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Which block it is: up to 20 bits.
    pub number: u32,
    pub more: bool,
    /// The size is 2 to the power of this and four more: 0 to 6.
    pub exponent: u8,
}

impl Block {
    /// `None`: it is longer than three bytes, or has the size that is reserved.
    pub fn read(value: &[u8]) -> Option<Self> {
        let value = uint(value).filter(|_| value.len() <= 3)?;
        let exponent = (value & 7) as u8;
        (exponent < 7).then_some(Self { number: value >> 4, more: value & 8 != 0, exponent })
    }

    pub fn write(self) -> Vec<u8> {
        of_uint(self.number << 4 | u32::from(self.more) << 3 | u32::from(self.exponent))
    }

    pub fn size(self) -> usize {
        16 << self.exponent
    }

    /// Where it begins in the body.
    pub fn start(self) -> usize {
        self.number as usize * self.size()
    }
}

/// The exponent of the largest block that is not above `bytes`.
pub fn exponent_within(bytes: usize) -> u8 {
    (0..=6).rev().find(|exponent| 16usize << exponent <= bytes).unwrap_or(0)
}

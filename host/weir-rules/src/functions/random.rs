//! `random()`, `randint(min, max)` and `newuuid()` (vendor protocol §5.2): from a message's offset and the place of the call
//! alone, so that a rule gives the same for the same message whenever and wherever it is evaluated.
//!
//! They spread well and are no secrets: whoever knows an offset can compute what is drawn for it.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, Int64Array, StringArray},
    datatypes::{DataType, Int64Type, UInt64Type},
};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Draw {
    /// At least 0 and less than 1.
    Number,
    /// From the least to the greatest, both included. NULL if there is none between.
    Integer,
    /// In the form of version 4 (RFC 9562 §5.4).
    Uuid,
}

/// Takes the offset, the place of the call, and for [`Draw::Integer`] the least and the greatest.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Random {
    draw: Draw,
    signature: Signature,
}

impl Random {
    pub(super) fn new(draw: Draw) -> Self {
        let mut types = vec![DataType::UInt64, DataType::UInt64];
        if draw == Draw::Integer {
            types.extend([DataType::Int64, DataType::Int64]);
        }
        Self { draw, signature: Signature::exact(types, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Random {
    fn name(&self) -> &str {
        match self.draw {
            Draw::Number => "$random",
            Draw::Integer => "$randint",
            Draw::Uuid => "$newuuid",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.draw {
            Draw::Number => DataType::Float64,
            Draw::Integer => DataType::Int64,
            Draw::Uuid => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [offsets, sites, bounds @ ..] = arrays.as_slice() else { return exec_err!("a draw takes an offset") };
        let (offsets, sites) = (offsets.as_primitive::<UInt64Type>(), sites.as_primitive::<UInt64Type>());
        let draws = offsets.iter().zip(sites.iter()).map(|(offset, site)| Some((offset?, site?)));
        let array: ArrayRef = match (self.draw, bounds) {
            (Draw::Number, _) => Arc::new(
                draws.map(|draw| draw.map(|(offset, site)| fraction(bits(offset, site, 0)))).collect::<Float64Array>(),
            ),
            (Draw::Integer, [least, greatest]) => {
                let (least, greatest) = (least.as_primitive::<Int64Type>(), greatest.as_primitive::<Int64Type>());
                let within = draws.zip(least.iter()).zip(greatest.iter()).map(|((draw, least), greatest)| {
                    let (offset, site) = draw?;
                    between(bits(offset, site, 0), least?, greatest?)
                });
                Arc::new(within.collect::<Int64Array>())
            }
            (Draw::Integer, _) => return exec_err!("randint takes two numbers"),
            (Draw::Uuid, _) => {
                let uuids =
                    draws.map(|draw| draw.map(|(offset, site)| uuid(bits(offset, site, 0), bits(offset, site, 1))));
                Arc::new(uuids.collect::<StringArray>())
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// Bits that look unlike those of any other offset, place or number.
fn bits(offset: u64, site: u64, number: u64) -> u64 {
    mix(offset ^ mix(site.wrapping_mul(2).wrapping_add(number)))
}

/// A step of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mix(state: u64) -> u64 {
    let bits = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn fraction(bits: u64) -> f64 {
    // As many bits as a double holds exactly.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

fn between(bits: u64, least: i64, greatest: i64) -> Option<i64> {
    let count = u128::try_from(i128::from(greatest) - i128::from(least) + 1).ok().filter(|count| *count > 0)?;
    let step = (u128::from(bits) * count) >> 64;
    i64::try_from(i128::from(least) + i128::try_from(step).ok()?).ok()
}

fn uuid(high: u64, low: u64) -> String {
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    let bits = (u128::from(high) << 64) | u128::from(low);
    let part = |shift: u32, digits: u32| (bits >> shift) & ((1 << (digits * 4)) - 1);
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn draws_are_the_same_for_ever() {
        // A rule of an earlier release means the same: these must not change.
        assert_eq!(bits(1 << 44, 0, 0), 480_282_186_515_293_221);
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn neighbours_are_spread_evenly() {
        let mut counts = [0; 10];
        for offset in 0..10_000 {
            let drawn = between(bits(offset, 3, 0), 0, 9).unwrap();
            counts[usize::try_from(drawn).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn what_is_drawn_is_within(bits: u64, one: i64, other: i64) {
            prop_assert!((0.0..1.0).contains(&fraction(bits)));
            match between(bits, one, other) {
                Some(drawn) => prop_assert!((one..=other).contains(&drawn)),
                None => prop_assert!(one > other),
            }
        }
    }
}

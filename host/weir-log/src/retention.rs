//! Which segments may go.

use std::time::Duration;

use weir_core::{Offset, Timestamp};

use crate::{LogOptions, segment::Sealed};

/// What is still needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pins {
    /// The lowest offset that an action still has to read, if one has.
    pub actions: Option<Offset>,
    /// The lowest offset that delivery and shadows still have to read. Never dropped.
    pub floor: Offset,
}

#[derive(Debug)]
pub(crate) struct Retention<'a> {
    pub(crate) options: &'a LogOptions,
    pub(crate) pins: Pins,
    pub(crate) now: Timestamp,
}

/// Whether the oldest segment of a log of `total` bytes may be dropped.
pub(crate) fn is_droppable(retention: &Retention<'_>, oldest: &Sealed, total: u64) -> bool {
    let Retention { options, pins, now } = retention;
    if oldest.end > pins.floor {
        return false;
    }
    let overtakes = pins.actions.is_some_and(|actions| oldest.end > actions);
    let expired = total > options.retain_bytes || age(oldest.sealed_at, *now) > options.retain_age;
    total >= options.max_bytes || (expired && !overtakes)
}

/// How long ago `then` was. None at all, if the clock was turned back since.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(then.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_dropped() {
        let options = LogOptions {
            retain_bytes: 100,
            max_bytes: 200,
            retain_age: Duration::from_millis(1_000),
            ..LogOptions::default()
        };
        let oldest = Sealed { end: Offset(10), bytes: 50, sealed_at: Timestamp(0) };
        let check = |actions: Option<u64>, floor, now, total, expected| {
            let pins = Pins { actions: actions.map(Offset), floor: Offset(floor) };
            let retention = Retention { options: &options, pins, now: Timestamp(now) };
            assert_eq!(is_droppable(&retention, &oldest, total), expected, "{pins:?} {now} {total}");
        };
        check(None, 10, 0, 101, true); // Too much.
        check(None, 10, 0, 100, false);
        check(None, 10, 1_001, 50, true); // Too old.
        check(None, 10, 1_000, 50, false);
        check(None, 10, -5, 50, false); // A clock that was turned back.
        check(None, 9, 1_001, 500, false); // Delivery needs it, whatever the size.
        check(Some(9), 10, 1_001, 199, false); // An action needs it,
        check(Some(9), 10, 0, 200, true); // until the disk is full.
        check(Some(10), 10, 1_001, 50, true);
    }
}

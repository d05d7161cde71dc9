//! Windows by the wall clock of a time zone.
//!
//! A window begins where the wall clock shows a multiple of its width. Where clocks are put forward over such a time, the
//! window begins with the change; where they are put back, what the wall clock shows twice are two windows. So a day has 23
//! or 25 hours, and no hour is counted twice.

use chrono::{Offset, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::frame::floor;

/// The names of all zones.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TZ_VARIANTS.iter().map(|zone| zone.name())
}

/// Start and end of the window that holds `time`; all in milliseconds since 1970, `align` by the wall clock.
pub(super) fn window(zone: Tz, width: i64, align: i64, time: i64) -> (i64, i64) {
    (start(zone, width, align, time), end(zone, width, align, time))
}

fn start(zone: Tz, width: i64, align: i64, time: i64) -> i64 {
    let mut time = time;
    loop {
        let wall = time + offset(zone, time);
        let begins = floor(wall, width, align);
        let plain = time - (wall - begins);
        let Some(change) = last_change(zone, plain, time) else { return plain };
        // Clocks were put forward over where the window would begin.
        if begins >= change + offset(zone, change - 1) {
            return change;
        }
        time = change - 1;
    }
}

fn end(zone: Tz, width: i64, align: i64, time: i64) -> i64 {
    let mut time = time;
    loop {
        let wall = time + offset(zone, time);
        let next = floor(wall, width, align) + width;
        let plain = time + (next - wall);
        let Some(change) = first_change(zone, time, plain) else { return plain };
        let wall = change + offset(zone, change);
        // Clocks are put forward over where the next window would begin, or put to where one begins.
        if wall >= next || floor(wall, width, align) == wall {
            return change;
        }
        time = change;
    }
}

/// The first instant in `from < x <= to` at which another offset holds than at `from`.
fn first_change(zone: Tz, from: i64, to: i64) -> Option<i64> {
    // Changes are months apart, but for a few in a row that history knows; hours are close enough.
    const STEP: i64 = 6 * 3_600_000;
    let before = offset(zone, from);
    let mut low = from;
    while low < to {
        let high = (low + STEP).min(to);
        if offset(zone, high) != before {
            return Some(bisect(low, high, |time| offset(zone, time) != before));
        }
        low = high;
    }
    None
}

/// The last instant in `from < x <= to` from which on the offset of `to` holds, if it did not at `from`.
fn last_change(zone: Tz, from: i64, to: i64) -> Option<i64> {
    const STEP: i64 = 6 * 3_600_000;
    let after = offset(zone, to);
    let mut high = to;
    while high > from {
        let low = (high - STEP).max(from);
        if offset(zone, low) != after {
            return Some(bisect(low, high, |time| offset(zone, time) == after));
        }
        high = low;
    }
    None
}

/// The first instant for which `holds`, which does not at `low` and does at `high`.
fn bisect(mut low: i64, mut high: i64, holds: impl Fn(i64) -> bool) -> i64 {
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// What the wall clock is ahead of UTC, in milliseconds.
fn offset(zone: Tz, time: i64) -> i64 {
    let Some(instant) = Utc.timestamp_millis_opt(time).single() else { return 0 };
    i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()) * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    /// Windows found minute by minute: one begins where the wall clock shows a multiple of the width, or jumps over it.
    fn naive(zone: Tz, width: i64, time: i64) -> (i64, i64) {
        let begins = |time: i64| {
            let (before, now) = (time - MINUTE + offset(zone, time - MINUTE), time + offset(zone, time));
            floor(now, width, 0) == now || (now > before && floor(now, width, 0) > before)
        };
        let mut start = time;
        while !begins(start) {
            start -= MINUTE;
        }
        let mut end = time + MINUTE;
        while !begins(end) {
            end += MINUTE;
        }
        (start, end)
    }

    #[test]
    fn windows_around_changes_of_the_clock_are_those_found_minute_by_minute() {
        // Around changes: Berlin 2026, Sao Paulo 2018 (at midnight), Lord Howe 2026 (half an hour), Kathmandu (none).
        let cases = [
            (Tz::Europe__Berlin, 1_774_746_000_000),
            (Tz::Europe__Berlin, 1_792_890_000_000),
            (Tz::America__Sao_Paulo, 1_541_300_400_000),
            (Tz::America__Sao_Paulo, 1_518_919_200_000),
            (Tz::Australia__Lord_Howe, 1_775_314_800_000),
            (Tz::Australia__Lord_Howe, 1_791_041_400_000),
            (Tz::Asia__Kathmandu, 1_775_314_800_000),
        ];
        for (zone, change) in cases {
            for width in [15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 24 * HOUR] {
                for step in -200..200 {
                    let time = change + step * 13 * MINUTE;
                    let time = time - time.rem_euclid(MINUTE);
                    let found = window(zone, width, 0, time);
                    assert_eq!(found, naive(zone, width, time), "{zone} {width} {time}");
                    assert!(found.0 <= time && time < found.1);
                }
            }
        }
    }

    #[test]
    fn a_day_has_as_many_hours_as_its_wall_clock() {
        let hours = |day: i64| {
            let (start, end) = window(Tz::Europe__Berlin, 24 * HOUR, 0, day);
            (end - start) / HOUR
        };
        // 2026-03-29, 2026-10-25 and a day between, at noon.
        assert_eq!([1_774_778_400_000, 1_792_926_000_000, 1_780_308_000_000].map(hours), [23, 25, 24]);
    }
}

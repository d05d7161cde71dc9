//! Times as RFC 3339 in UTC, with as many digits of a second as it takes: none, 3, 6 or 9.

use std::io::Write as _;

use arrow::datatypes::TimeUnit;

const DAY: i64 = 86_400;

/// An instant counted from 1970.
pub(crate) fn write_instant(count: i64, unit: TimeUnit, into: &mut Vec<u8>) {
    let (per_second, digits) = match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    };
    let (seconds, mut fraction) = (count.div_euclid(per_second), count.rem_euclid(per_second));
    let (day, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    write_date(day, into);
    // Writing to a Vec cannot fail, here and below.
    let mut _written = write!(into, "T{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
    let mut digits = digits;
    while digits > 0 && fraction % 1_000 == 0 {
        (fraction, digits) = (fraction / 1_000, digits - 3);
    }
    if digits > 0 {
        _written = write!(into, ".{fraction:0digits$}");
    }
    into.push(b'Z');
}

/// A day counted from 1970-01-01, in the Gregorian calendar.
pub(crate) fn write_date(day: i64, into: &mut Vec<u8>) {
    // Counted in eras of 400 years that begin on a first of March, a leap day is the last day of its year.
    let day = day.saturating_add(719_468);
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let _written = write!(into, "{year:04}-{month:02}-{day_of_month:02}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(count: i64, unit: TimeUnit, expected: &str) {
        let mut text = Vec::new();
        write_instant(count, unit, &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn instants() {
        check(0, TimeUnit::Second, "1970-01-01T00:00:00Z");
        check(1_763_848_801_123, TimeUnit::Millisecond, "2025-11-22T22:00:01.123Z");
        check(1_763_848_801_000, TimeUnit::Millisecond, "2025-11-22T22:00:01Z");
        check(951_782_400, TimeUnit::Second, "2000-02-29T00:00:00Z");
        check(4_107_542_400, TimeUnit::Second, "2100-03-01T00:00:00Z");
        check(-1, TimeUnit::Microsecond, "1969-12-31T23:59:59.999999Z");
        check(1_000_000, TimeUnit::Nanosecond, "1970-01-01T00:00:00.001Z");
        check(1, TimeUnit::Nanosecond, "1970-01-01T00:00:00.000000001Z");
        check(-62_167_219_200, TimeUnit::Second, "0000-01-01T00:00:00Z");
        check(i64::MAX, TimeUnit::Second, "292277026596-12-04T15:30:07Z");
    }
}

//! Which window a time belongs to.

use std::fmt;

use chrono_tz::Tz;

use super::zone;

const DAY: i64 = 24 * 3_600_000;
/// Monday, 1970-01-05: windows of whole weeks begin on Mondays.
const MONDAY: i64 = 4 * DAY;

/// How time is cut into windows. Lengths are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Windows side by side. By UTC unless a zone is named.
    Tumble { width: i64, zone: Option<Tz> },
    /// Windows that overlap: one begins every `slide`, which divides the width.
    Hop { width: i64, slide: i64 },
    /// A window goes on until nothing has come for the gap.
    Session { gap: i64 },
}

impl Frame {
    /// The smallest stretch around `time` whose messages have all windows in common. For sessions that is what one message
    /// alone would make.
    pub(super) fn pane(&self, time: i64) -> (i64, i64) {
        match self {
            Self::Tumble { width, zone: Some(zone) } => zone::window(*zone, *width, align(*width), time),
            Self::Tumble { width, zone: None } => {
                let start = floor(time, *width, align(*width));
                (start, start + width)
            }
            Self::Hop { slide, .. } => {
                let start = floor(time, *slide, 0);
                (start, start + slide)
            }
            Self::Session { gap } => (time, time + gap),
        }
    }

    /// Where the last window ends that a pane is in.
    pub(super) fn last_end(&self, (start, end): (i64, i64)) -> i64 {
        match self {
            Self::Hop { width, .. } => start + width,
            Self::Tumble { .. } | Self::Session { .. } => end,
        }
    }
}

/// The last multiple of `width` at or before `time`, counted from `align`.
pub(super) fn floor(time: i64, width: i64, align: i64) -> i64 {
    time - (time - align).rem_euclid(width)
}

fn align(width: i64) -> i64 {
    if width % (7 * DAY) == 0 { MONDAY } else { 0 }
}

/// As it is told of, and compared when a rule changes.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tumble { width, zone: None } => write!(f, "tumble('{}')", length(*width)),
            Self::Tumble { width, zone: Some(zone) } => write!(f, "tumble('{}', '{zone}')", length(*width)),
            Self::Hop { width, slide } => write!(f, "hop('{}', '{}')", length(*width), length(*slide)),
            Self::Session { gap } => write!(f, "session('{}')", length(*gap)),
        }
    }
}

/// A length of time in the largest unit that has no rest.
pub(crate) fn length(length: i64) -> String {
    let units = [(DAY, "days"), (3_600_000, "hours"), (60_000, "minutes"), (1_000, "seconds")];
    match units.into_iter().find(|(unit, _)| length % unit == 0) {
        Some((unit, name)) if length == unit => format!("1 {}", name.trim_end_matches('s')),
        Some((unit, name)) => format!("{} {name}", length / unit),
        None => format!("{length} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_told_of_as_they_are_written() {
        let check = |frame: Frame, text: &str| assert_eq!(frame.to_string(), text);
        check(Frame::Tumble { width: 60_000, zone: None }, "tumble('1 minute')");
        check(Frame::Tumble { width: 7 * DAY, zone: Some(Tz::Europe__Berlin) }, "tumble('7 days', 'Europe/Berlin')");
        check(Frame::Hop { width: 90_000, slide: 1_500 }, "hop('90 seconds', '1500 ms')");
        check(Frame::Session { gap: 3_600_000 }, "session('1 hour')");
    }

    #[test]
    fn panes_hold_their_time_and_begin_at_multiples() {
        let week = Frame::Tumble { width: 7 * DAY, zone: None };
        // 2026-01-31 was a Saturday; its week began on Monday, the 26th.
        assert_eq!(week.pane(1_769_860_800_000).0, 1_769_385_600_000);
        assert_eq!(Frame::Tumble { width: 60_000, zone: None }.pane(-1), (-60_000, 0));
        let hop = Frame::Hop { width: 60_000, slide: 20_000 };
        assert_eq!(hop.pane(65_000), (60_000, 80_000));
        assert_eq!(hop.last_end(hop.pane(65_000)), 120_000);
        assert_eq!(Frame::Session { gap: 5 }.pane(7), (7, 12));
    }
}

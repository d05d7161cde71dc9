//! A period of past messages, by the times at which they were accepted.

use serde_json::{Map, Value};
use weir_log::Clock;

use crate::config::parse_duration;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Period {
    /// Messages accepted from then on, such as -7d, 2026-01-31T06:00:00Z or "now" [default: the oldest]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) from: Option<i64>,
    /// Messages accepted before [default: the newest]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) to: Option<i64>,
}

impl Period {
    /// Enters the times that are given into a request.
    pub(crate) fn write(&self, request: &mut Map<String, Value>) {
        let given = [("from", self.from), ("to", self.to)];
        request.extend(given.into_iter().filter_map(|(name, time)| Some((name.to_owned(), time?.into()))));
    }
}

/// Milliseconds since 1970 of a time, by this machine's clock.
fn time(text: &str) -> Result<i64, String> {
    let now = Clock::system().now().0;
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = parse_duration(ago)?;
        return Ok(now.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
    }
    let wrong = || format!("{text:?} is not a time; write -7d for seven days ago, \"now\", or 2026-01-31T06:00:00Z");
    let time = humantime::parse_rfc3339_weak(text).map_err(|_| wrong())?;
    let since_1970 = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| wrong())?;
    i64::try_from(since_1970.as_millis()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        assert_eq!(time("2026-01-31T06:00:00Z"), Ok(1_769_839_200_000));
        assert_eq!(time("2026-01-31 06:00:00"), Ok(1_769_839_200_000));
        let (ago, now) = (time("-7d").unwrap(), time("now").unwrap());
        assert!((now - ago - 7 * 24 * 3_600_000).abs() < 60_000);
        assert!(time("yesterday").unwrap_err().contains("-7d"));
        assert!(time("-x").unwrap_err().contains("unit"));
    }
}

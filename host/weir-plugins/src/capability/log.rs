//! Lines of plugins in the hub's log, so many a second.

use std::time::{Duration, Instant};

use crate::{
    bindings::log::{Host, Level},
    instance::State,
};

const LINES_PER_SECOND: u32 = 20;
const LINE_BYTES: usize = 1 << 10;

/// What an instance has logged in this second.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    second: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl LogBudget {
    /// Whether there is room for another line, and how many there was none for, if it is the first since.
    fn take(&mut self) -> Option<u64> {
        let fresh = self.second.is_none_or(|second| second.elapsed() > Duration::from_secs(1));
        if fresh {
            self.second = Some(Instant::now());
            self.lines = 0;
        }
        if self.lines >= LINES_PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl Host for State {
    async fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let Some(suppressed) = self.log.take() else { return Ok(()) };
        let (plugin, used_by) = (&self.used.plugin, &self.used.statement);
        if suppressed > 0 {
            tracing::warn!(plugin, used_by, suppressed, "a plugin logs too much; lines were left out");
        }
        let said = said(&message, LINE_BYTES);
        match level {
            Level::Debug => tracing::debug!(plugin, used_by, said, "plugin"),
            Level::Info => tracing::info!(plugin, used_by, said, "plugin"),
            Level::Warn => tracing::warn!(plugin, used_by, said, "plugin"),
            Level::Error => tracing::error!(plugin, used_by, said, "plugin"),
        }
        Ok(())
    }
}

/// What a guest says, as far as it can be shown: one line, without control characters, not too long.
pub(crate) fn said(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let shown = text.get(..end).unwrap_or_default();
    shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut budget = LogBudget::default();
        assert_eq!((0..100).filter(|_| budget.take().is_some()).count(), LINES_PER_SECOND as usize);
        assert_eq!(budget.suppressed, 80);
        budget.second = Instant::now().checked_sub(Duration::from_secs(2));
        assert_eq!(budget.take(), Some(80));
        assert_eq!(budget.take(), Some(0));
    }

    #[test]
    fn what_is_said_is_one_short_line() {
        assert_eq!(said("a\nb\u{1b}[1m", 100), "a b [1m");
        assert_eq!(said("ééé", 3), "é");
    }
}

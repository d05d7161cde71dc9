//! The wall clock, which tests can turn. Nothing else in the hub reads the time of day.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use weir_core::Timestamp;

/// Tells the time of day. Clones of a manual clock are turned together.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still but for [`Clock::advance`].
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp(system_milliseconds()),
            Source::Manual(milliseconds) => Timestamp(milliseconds.load(Ordering::SeqCst)),
        }
    }

    /// Turns a manual clock forward. The system's clock goes by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(milliseconds) = &self.0 {
            milliseconds.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everything else must use")]
fn system_milliseconds() -> i64 {
    // A machine set to a time before 1970 gets 1970: timestamps inform, they never order.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

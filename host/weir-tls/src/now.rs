//! The wall clock, as the caller has it: whether a certificate has expired must be testable by turning that clock.

use std::{fmt, sync::Arc, time::Duration};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use weir_core::Timestamp;

/// Says what time it is.
#[derive(Clone)]
pub struct Now(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Now {
    pub fn new(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }
}

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)().seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Now").field(&(self.0)()).finish()
    }
}

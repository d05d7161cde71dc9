//! Saying which certificates are refused, without letting whoever shows them fill the hub's own log.

use std::{net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;
use weir_tls::AcceptError;

/// How often one is said. Those between are counted, and the next that is said says how many there were.
const EVERY: Duration = Duration::from_secs(1);

/// What a listener's handshakes have been refused for. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<Said>>);

/// Guarded for as long as a comparison takes.
#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    /// Refusals since the last that was said.
    unsaid: u64,
}

impl Refusals {
    /// A certificate's refusal is for people: somebody has to make another one, and must be told why. The rest is what
    /// scanners and broken networks do all day.
    pub(crate) fn tell(&self, error: &AcceptError, address: IpAddr) {
        let said = matches!(error, AcceptError::Certificate { .. }).then(|| self.due(Instant::now())).flatten();
        match said {
            Some(unsaid) => tracing::info!(%error, %address, unsaid, "a tls handshake failed"),
            None => tracing::debug!(%error, %address, "a tls handshake failed"),
        }
    }

    /// How many have not been said before this one; `None` if it is not said either.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock();
        if said.last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            said.unsaid += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_second_is_said_and_no_count_is_lost() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for (at, expected) in
            [(0, Some(0)), (1, None), (999, None), (1_000, Some(2)), (1_500, None), (9_000, Some(1)), (99_000, Some(0))]
        {
            assert_eq!(refusals.due(start + Duration::from_millis(at)), expected, "at {at} ms");
        }
    }
}

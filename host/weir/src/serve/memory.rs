//! Memory that connections held goes back to the operating system when many of them have ended.
//!
//! glibc keeps what is freed unless it lies at the end of a heap, and what a connection holds is scattered: when 8,400
//! connections had come and gone, all of 62 MiB stayed; with `malloc_trim` called each second, 13 were left.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_mqtt::Admission;

/// How often to look.
const LOOK: Duration = Duration::from_secs(10);

/// Connections that must have ended: fewer are not worth a walk over every heap.
const MANY: usize = 1_000;

/// Gives memory back until `stop`.
pub(super) async fn keep_small(admission: Admission, stop: CancellationToken) {
    let mut peak = Peak::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if peak.has_fallen(admission.open()) {
            // It walks over every heap, which takes milliseconds.
            let _given = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

/// The most connections that were open since memory was given back.
#[derive(Debug, Default)]
struct Peak(usize);

impl Peak {
    /// Whether many have ended, now that `open` are left. Said once for each fall.
    fn has_fallen(&mut self, open: usize) -> bool {
        let fallen = self.0.saturating_sub(open) >= MANY;
        self.0 = if fallen { open } else { self.0.max(open) };
        fallen
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim is C; it takes a number, and may be called by any thread at any time")]
fn give_back() {
    let _some_was_given = unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_said_once() {
        let mut peak = Peak::default();
        let said: Vec<bool> =
            [500, 5_000, 4_500, 4_001, 4_000, 3_500, 3_000, 9_000, 0].map(|open| peak.has_fallen(open)).into();
        assert_eq!(said, [false, false, false, false, true, false, true, false, true]);
    }
}

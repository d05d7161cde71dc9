//! Memory that connections held goes back to the operating system when many of them have come or gone.
//!
//! glibc keeps what is freed unless it lies at the end of a heap, and what a connection holds is scattered: when 8,400
//! connections had come and gone, all of 62 MiB stayed; with `malloc_trim` called each second, 13 were left. What they need
//! only while they come (handshakes, the log's newest frames) is scattered as well.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How often to look.
const LOOK: Duration = Duration::from_secs(1);

/// Connections that must have come or gone: fewer are not worth a walk over every heap.
const MANY: usize = 1_000;

/// Gives memory back until `stop`. `open` says how many connections there are.
pub(super) async fn keep_small(open: impl Fn() -> usize + Send, stop: CancellationToken) {
    let mut tide = Tide::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if tide.has_turned(open()) {
            // It walks over every heap, which takes milliseconds.
            let _given = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

/// How many connections were open.
#[derive(Debug, Default)]
struct Tide {
    /// At the last look.
    seen: usize,
    /// When memory was given back.
    settled: usize,
}

impl Tide {
    /// Whether many have come or gone, and few since the last look, now that there are `open`. Said once for each time.
    fn has_turned(&mut self, open: usize) -> bool {
        let is_calm = open.abs_diff(std::mem::replace(&mut self.seen, open)) < MANY / 10;
        let has_turned = is_calm && open.abs_diff(self.settled) >= MANY;
        if has_turned {
            self.settled = open;
        }
        has_turned
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
    fn each_tide_is_said_once_and_when_it_is_over() {
        let mut tide = Tide::default();
        let open = [500, 3_000, 5_000, 5_010, 5_020, 4_500, 4_001, 4_000, 1_000, 990, 1_000];
        let said = open.map(|open| tide.has_turned(open));
        let turned: Vec<usize> = open.into_iter().zip(said).filter(|(_, said)| *said).map(|(open, _)| open).collect();
        assert_eq!(turned, [5_010, 4_000, 990]);
    }
}

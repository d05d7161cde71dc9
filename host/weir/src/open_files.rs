//! How many files this process may have open at one time. Each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a hub has open besides connections: the log's segments, the store, listeners, what its targets talk to.
const OTHERS: u64 = 128;

/// Raises the soft limit to the hard one, as any process may, and says what it is then.
pub(crate) fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        // Then it stays as it was.
        Err(_) => current,
    };
    // Without a limit of its own, a process is bounded by the system.
    allowed.unwrap_or(u64::MAX)
}

/// How many connections there is room for, where that is fewer than `connections`.
pub(crate) fn room_for(connections: u64, allowed: u64) -> Result<(), u64> {
    let room = allowed.saturating_sub(OTHERS);
    if connections <= room { Ok(()) } else { Err(room) }
}

/// What to do where the hard limit is too low.
pub(crate) const REMEDY: &str = "raise the hard limit on open files before the program starts: \
    LimitNOFILE= in a systemd unit, --ulimit nofile= for a container, or ulimit -Hn as root";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_hub_itself_leaves() {
        assert_eq!(room_for(10_000, 20_000), Ok(()));
        assert_eq!(room_for(19_872, 20_000), Ok(()));
        assert_eq!(room_for(19_873, 20_000), Err(19_872));
        assert_eq!(room_for(1, 100), Err(0));
        assert_eq!(room_for(u64::MAX - OTHERS, u64::MAX), Ok(()));
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let allowed = raise();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), allowed);
        assert_eq!(raise(), allowed);
    }
}

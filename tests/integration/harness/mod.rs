//! What the stories share: the hub, its clients, the server that webhooks go to, and patience with a limit.

pub(crate) mod hub;
pub(crate) mod mosquitto;
pub(crate) mod mqtt;
pub(crate) mod powerloss;
pub(crate) mod receiver;
pub(crate) mod shared;
pub(crate) mod wire;

use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How long anything that should happen soon may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Asks until there is an answer, or the time is over.
pub(crate) fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

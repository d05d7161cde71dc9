//! What the hub writes about itself, on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    cli::failure::Failure,
    config::{LogFormat, Logging},
};

pub(super) fn start(logging: &Logging) -> Result<(), Failure> {
    let level = &logging.level;
    let filter = EnvFilter::try_new(level)
        .map_err(|error| Failure::usage(format!("setting logging.level: {level:?} is not understood: {error}")))?;
    let builder = fmt().with_env_filter(filter).with_writer(stderr);
    let started = match logging.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Auto | LogFormat::Text => builder.with_ansi(stderr().is_terminal()).try_init(),
    };
    started.map_err(|error| Failure::refused(format!("cannot start logging: {error}")))
}

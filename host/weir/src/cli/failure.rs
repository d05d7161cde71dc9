//! How a command fails: what it says, what to do next, and its exit code.

use std::{io, process::ExitCode};

/// Shown at the end of `weir help` and of every long help.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the hub refused, or the work failed
  2  the command or the configuration is wrong
  3  the hub cannot be reached";

#[derive(Debug)]
pub(crate) enum Failure {
    /// The hub said no, or the work failed. `kind` is the word of the hub's answer.
    Refused {
        kind: Option<String>,
        message: String,
        hint: Option<String>,
    },
    /// The command or the configuration is wrong.
    Usage(String),
    Unreachable {
        message: String,
        hint: String,
    },
    /// Whoever read our output has gone: there is nobody to tell.
    ClosedPipe,
}

impl Failure {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused { kind: None, message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Says what to do next, if the hub refused and nothing better is known.
    pub(crate) fn hint(mut self, next: &str) -> Self {
        if let Self::Refused { hint, .. } = &mut self {
            hint.get_or_insert_with(|| next.to_owned());
        }
        self
    }

    /// Names the command that lists what there is, if the hub does not know the thing.
    pub(crate) fn see(self, list: &str) -> Self {
        match &self {
            Self::Refused { kind: Some(kind), .. } if kind == "not_found" => {
                self.hint(&format!("see what there is: {list}"))
            }
            _ => self,
        }
    }

    /// What went wrong, in a sentence of another's.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Refused { message, .. } | Self::Usage(message) | Self::Unreachable { message, .. } => message,
            Self::ClosedPipe => "nobody reads the output",
        }
    }

    /// Tells the user, and says how the process ends.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Refused { message, hint, .. } => {
                say(message, hint.as_deref());
                ExitCode::from(1)
            }
            Self::Usage(message) => {
                say(message, None);
                ExitCode::from(2)
            }
            Self::Unreachable { message, hint } => {
                say(message, Some(hint));
                ExitCode::from(3)
            }
            Self::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::refused(format!("{error:#}"))
    }
}

/// Failures to write standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::refused(format!("cannot write the output: {error}")),
        }
    }
}

fn say(message: &str, hint: Option<&str>) {
    eprintln!("error: {message}");
    if let Some(hint) = hint {
        for line in hint.lines() {
            eprintln!("  {line}");
        }
    }
}

//! Why the hub does not start: one message each, and what to do next.

use std::{error::Error, io, path::PathBuf};

use weir_store::StoreError;

use super::{
    listeners::{self, Wanted},
    tls::TlsError,
};
use crate::{cli::failure::Failure, data::DataError};

#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("the log in {} cannot be opened", folder.display())]
    Log {
        folder: PathBuf,
        #[source]
        source: weir_log::OpenError,
    },
    #[error("the store does not open")]
    Store(#[source] weir_store::OpenError),
    #[error("the administrator's key cannot be stored")]
    Administrator(#[source] StoreError),
    #[error("the administrator's key in {} is not valid: {reason}", path.display())]
    KeyFile { path: PathBuf, reason: String },
    #[error("there is no randomness for a key: {0}")]
    Randomness(getrandom::Error),
    #[error("cannot listen for {}", wanted.what)]
    Bind {
        wanted: Wanted,
        #[source]
        source: io::Error,
    },
    #[error("the address of a listener is unknown: {0}")]
    Address(io::Error),
    #[error("cannot hear signals: {0}")]
    Signal(io::Error),
    #[error("the lake cannot be used; change lake.location, or set lake.enabled=false")]
    Lake(#[source] weir_lake::LakeError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("plugins cannot be run")]
    Plugins(#[source] weir_plugins::StartError),
    #[error(transparent)]
    Broker(#[from] weir_broker::StartError),
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        use weir_log::OpenError::{Corrupt, Locked, NewerFormat};
        match &error {
            StartError::Bind { wanted, source } => {
                let (message, hint) = listeners::explain(wanted, source);
                Self::refused(message).hint(&hint)
            }
            StartError::Log { folder, source: Locked { .. } } => {
                let data = folder.parent().unwrap_or(folder).display();
                Self::refused(format!("data folder {data} is in use by another weir"))
                    .hint("end that one first, or keep this one's data elsewhere: weir serve --data DIR")
            }
            StartError::Log { folder, source: Corrupt { .. } } => Self::refused(chain(&error)).hint(&format!(
                "restore {0} from a backup, or move it away to start with an empty log: mv {0} {0}.damaged",
                folder.display()
            )),
            StartError::Log { source: NewerFormat { .. }, .. } => {
                Self::refused(chain(&error)).hint("run the newer weir that wrote it")
            }
            // The texts of the store say what to do.
            StartError::Store(source) => Self::refused(chain(source)),
            _ => Self::refused(chain(&error)),
        }
    }
}

/// An error and its reasons, once each.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut reason = error.source();
    while let Some(inner) = reason {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        reason = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_and_a_damaged_log_say_what_to_do() {
        let failure = |source| Failure::from(StartError::Log { folder: "/d/log".into(), source });
        let Failure::Refused { message, hint, .. } = failure(weir_log::OpenError::Locked { folder: "/d/log".into() })
        else {
            panic!("refused")
        };
        assert_eq!(message, "data folder /d is in use by another weir");
        assert!(hint.unwrap().contains("--data DIR"));

        let damaged = weir_log::OpenError::Corrupt { segment: "00.log".into(), position: 64, reason: "bad checksum" };
        let Failure::Refused { message, hint, .. } = failure(damaged) else { panic!("refused") };
        assert_eq!(message, "the log in /d/log cannot be opened: segment 00.log is damaged at byte 64: bad checksum");
        assert!(hint.unwrap().contains("mv /d/log /d/log.damaged"));
    }
}

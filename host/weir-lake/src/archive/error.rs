//! What can go wrong with the lake.

use std::{io, path::PathBuf};

use weir_core::Offset;

#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error("the folder {folder} of the lake cannot be made or read")]
    Folder {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("commit {commit} of the lake is damaged: {reason}")]
    Damaged { commit: u64, reason: String },
    #[error("the lake has format {version}, this program reads formats up to {supported}: use a newer program")]
    Newer { version: u32, supported: u32 },
    #[error("the lake belongs to another hub: give this one another lake.location")]
    Foreign,
    /// The log is older than the lake: somebody brought back a copy of the data folder.
    #[error(
        "the lake holds messages up to {to}, which the log, in its epoch {epoch}, never wrote: was the data folder \
         restored from a copy? give this hub another lake.location"
    )]
    Ahead { to: Offset, epoch: u32 },
    #[error("{}", closed(.0))]
    Closed(Option<String>),
    #[error("the log cannot be read: {0}")]
    Log(String),
    #[error("the object store refused")]
    Store(#[from] object_store::Error),
    #[error("a Parquet file cannot be written or read")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("messages cannot be arranged")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("reading or writing failed")]
    Io(#[from] io::Error),
}

fn closed(reason: &Option<String>) -> String {
    match reason {
        Some(reason) => format!("the lake cannot be read: {reason}"),
        None => "the lake is being opened; try again".to_owned(),
    }
}

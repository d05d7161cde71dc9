//! Where the lake is, and how much of it there may be.

use std::{fmt, path::PathBuf, time::Duration};

#[derive(Debug, Clone)]
pub struct LakeOptions {
    pub location: Location,
    pub compression: LakeCompression,
    /// Files whose messages are all older than this are dropped.
    pub retain_age: Duration,
    /// Files are dropped, oldest first, while the lake holds more bytes than this.
    pub retain_bytes: u64,
    /// Bytes of memory that compaction may hold, about.
    pub memory: usize,
    /// How often the log is looked at for segments to compact.
    pub interval: Duration,
    /// Whose lake this is: written into it, so that no other hub writes to it by mistake.
    pub hub: String,
    /// A folder for files that are being made. What is in it is removed.
    pub scratch: PathBuf,
}

#[derive(Debug, Clone)]
pub enum Location {
    Folder(PathBuf),
    S3(S3Location),
}

/// A bucket of S3, or of anything that speaks as it does.
#[derive(Clone, Default)]
pub struct S3Location {
    pub bucket: String,
    /// Where in the bucket. Empty: at its root.
    pub prefix: String,
    /// Empty: that of AWS.
    pub endpoint: String,
    pub region: String,
    /// Empty, as `secret_access_key`: what the environment or the machine says.
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Whether the bucket's name is part of the host's.
    pub virtual_hosted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LakeCompression {
    /// Written in Rust, and fastest to read.
    Lz4,
    /// A third smaller.
    Zstd,
}

impl fmt::Debug for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Location")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::S3(s3) => write!(f, "s3://{}/{}", s3.bucket, s3.prefix),
        }
    }
}

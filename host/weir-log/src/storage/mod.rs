//! Where segments are kept: a folder, or its faulty twin for tests.
//!
//! The contract is that of a POSIX file system. What was written is readable at once, but survives a crash only after
//! [`AppendFile::sync`]; a file's existence (or absence) survives only after [`Storage::sync_directory`].

pub mod faulty;
pub mod fs;

use std::{fmt, io, sync::Arc};

/// A flat set of named files. Its `Display` is what operators are told when something fails.
pub trait Storage: Send + Sync + fmt::Debug + fmt::Display {
    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new, empty file. Fails if there is one of this name.
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>>;

    fn open(&self, name: &str) -> io::Result<Arc<dyn ReadFile>>;

    /// Cuts a file to `length` bytes and syncs it.
    fn truncate(&self, name: &str, length: u64) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations and removals survive a crash.
    fn sync_directory(&self) -> io::Result<()>;
}

/// A file that one writer appends to.
pub trait AppendFile: Send + fmt::Debug {
    /// Appends all of `bytes`. After an error any part of them may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes all that was appended survive a crash. After an error nothing is known of what was not synced before.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that any number of readers read, also while it is appended to.
pub trait ReadFile: Send + Sync + fmt::Debug {
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` from `position` on; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;
}

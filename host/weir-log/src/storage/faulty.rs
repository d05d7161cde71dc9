//! Storage in memory that fails on demand and forgets, at a crash, what was not synced.

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use parking_lot::Mutex;

use super::{AppendFile, ReadFile, Storage};

/// A disk in memory. Clones share it. After [`Faulty::crash`] every handle from before fails, as the process that had
/// it is gone.
#[derive(Debug, Clone, Default)]
pub struct Faulty {
    disk: Arc<Mutex<Disk>>,
    /// How many crashes there had been when this handle was made.
    boot: u64,
}

#[derive(Debug, Default)]
struct Disk {
    boot: u64,
    /// What the running system sees.
    files: BTreeMap<String, Bytes>,
    /// What the directory holds after a crash.
    synced: BTreeMap<String, Bytes>,
    writes: u64,
    syncs: u64,
    failing_write: Option<u64>,
    failing_sync: Option<u64>,
}

type Bytes = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// How many of them survive a crash.
    synced: usize,
}

impl Faulty {
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine loses power: whatever was not synced is gone. Returns the disk as the next start finds it.
    pub fn crash(&self) -> Self {
        self.crash_keeping(|_| 0)
    }

    /// As [`Faulty::crash`], but of the bytes each file had not synced (`keep` is told how many) some were written all
    /// the same.
    pub fn crash_keeping(&self, mut keep: impl FnMut(usize) -> usize) -> Self {
        let mut disk = self.disk.lock();
        disk.boot += 1;
        disk.files = disk.synced.clone();
        for content in disk.files.values() {
            let mut content = content.lock();
            let unsynced = content.bytes.len().saturating_sub(content.synced);
            let kept = content.synced + keep(unsynced).min(unsynced);
            content.bytes.truncate(kept);
            content.synced = content.bytes.len();
        }
        (disk.failing_write, disk.failing_sync) = (None, None);
        Self { disk: Arc::clone(&self.disk), boot: disk.boot }
    }

    /// Lets the `n`-th write from now fail (0: the next one), after half of its bytes.
    pub fn fail_write(&self, n: u64) {
        let mut disk = self.disk.lock();
        disk.failing_write = Some(disk.writes + n);
    }

    /// Lets the `n`-th sync from now fail (0: the next one), of a file or of the directory.
    pub fn fail_sync(&self, n: u64) {
        let mut disk = self.disk.lock();
        disk.failing_sync = Some(disk.syncs + n);
    }

    /// How many writes and syncs there were.
    pub fn operations(&self) -> (u64, u64) {
        let disk = self.disk.lock();
        (disk.writes, disk.syncs)
    }

    /// The names and contents of all files.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.disk.lock().files.iter().map(|(name, content)| (name.clone(), content.lock().bytes.clone())).collect()
    }

    /// A disk that holds `files`, all synced.
    pub fn with_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let content = |bytes: Vec<u8>| Arc::new(Mutex::new(Content { synced: bytes.len(), bytes }));
        let files: BTreeMap<_, _> = files.into_iter().map(|(name, bytes)| (name, content(bytes))).collect();
        Self { disk: Arc::new(Mutex::new(Disk { synced: files.clone(), files, ..Disk::default() })), boot: 0 }
    }

    fn running(&self) -> io::Result<parking_lot::MutexGuard<'_, Disk>> {
        let disk = self.disk.lock();
        if disk.boot == self.boot { Ok(disk) } else { Err(io::Error::other("the machine crashed")) }
    }
}

impl Disk {
    fn count_write(&mut self) -> io::Result<()> {
        self.writes += 1;
        if self.failing_write == Some(self.writes - 1) { Err(io::Error::other("injected write error")) } else { Ok(()) }
    }

    fn count_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if self.failing_sync == Some(self.syncs - 1) { Err(io::Error::other("injected sync error")) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> io::Result<Bytes> {
        self.files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for Faulty {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.running()?.files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let mut disk = self.running()?;
        if disk.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Bytes::default();
        disk.files.insert(name.to_owned(), Arc::clone(&content));
        Ok(Box::new(Handle { faulty: self.clone(), content }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn ReadFile>> {
        let content = self.running()?.find(name)?;
        Ok(Arc::new(Handle { faulty: self.clone(), content }))
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        let mut disk = self.running()?;
        let content = disk.find(name)?;
        disk.count_write()?;
        disk.count_sync()?;
        let mut content = content.lock();
        content.bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        content.synced = content.bytes.len();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.running()?.files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut disk = self.running()?;
        disk.count_sync()?;
        disk.synced = disk.files.clone();
        Ok(())
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("in memory")
    }
}

#[derive(Debug)]
struct Handle {
    faulty: Faulty,
    content: Bytes,
}

impl AppendFile for Handle {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.faulty.running()?;
        let outcome = disk.count_write();
        let written = if outcome.is_ok() { bytes.len() } else { bytes.len() / 2 };
        self.content.lock().bytes.extend_from_slice(bytes.get(..written).unwrap_or(bytes));
        outcome
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.faulty.running()?;
        disk.count_sync()?;
        let mut content = self.content.lock();
        content.synced = content.bytes.len();
        Ok(())
    }
}

impl ReadFile for Handle {
    fn length(&self) -> io::Result<u64> {
        let _running = self.faulty.running()?;
        Ok(self.content.lock().bytes.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let _running = self.faulty.running()?;
        let content = self.content.lock();
        let start = usize::try_from(position).map_err(io::Error::other)?;
        let bytes = start
            .checked_add(buffer.len())
            .and_then(|end| content.bytes.get(start..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

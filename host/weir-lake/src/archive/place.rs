//! The object store that a lake is in, and what makes a folder as trustworthy as a bucket.
//!
//! What was created or uploaded survives a power cut: a bucket promises that itself, a folder is synced here, because
//! the log drops messages in reliance on it.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig, WriteMultipart,
    aws::{AmazonS3Builder, S3ConditionalPut},
    local::LocalFileSystem,
    path::Path,
    prefix::PrefixStore,
};

use super::{LakeError, Location, S3Location};

/// Bytes of one part of an upload, and parts that are on their way.
const PART_BYTES: usize = 8 << 20;
const PARTS: usize = 2;
/// Attempts at one request to a bucket, and the time for all of them. The lake's task tries again later.
const RETRIES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The folder, if it is one.
    folder: Option<PathBuf>,
    /// After how many steps more everything fails, as if the process had been killed there.
    #[cfg(test)]
    pub(crate) fuse: std::sync::atomic::AtomicI64,
}

/// How an object that must be new was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    Now,
    /// There was one already.
    Before,
}

impl Place {
    pub(crate) fn open(location: &Location) -> Result<Self, LakeError> {
        match location {
            Location::Folder(folder) => {
                let failed = |source| LakeError::Folder { folder: folder.clone(), source };
                make(folder).map_err(failed)?;
                // The store compares paths with the folder's real one.
                let folder = folder.canonicalize().map_err(failed)?;
                remove_unfinished(&folder).map_err(failed)?;
                let store = LocalFileSystem::new_with_prefix(&folder)?;
                Ok(Self::of(Arc::new(store), Some(folder)))
            }
            Location::S3(s3) => Ok(Self::of(bucket(s3)?, None)),
        }
    }

    fn of(store: Arc<dyn ObjectStore>, folder: Option<PathBuf>) -> Self {
        Self {
            store,
            folder,
            #[cfg(test)]
            fuse: i64::MAX.into(),
        }
    }

    /// Stands before and after whatever changes the store, so that tests can break off between any two changes.
    fn step(&self) -> Result<(), LakeError> {
        #[cfg(test)]
        if self.fuse.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) <= 0 {
            return Err(LakeError::Io(io::Error::other("the fuse has blown")));
        }
        Ok(())
    }

    pub(crate) async fn read(&self, path: &Path) -> Result<Bytes, LakeError> {
        Ok(self.store.get(path).await?.bytes().await?)
    }

    /// The names of all objects whose first level is `under`, or all.
    pub(crate) async fn list(&self, under: Option<&str>) -> Result<Vec<Path>, LakeError> {
        let under = under.map(Path::from);
        let objects = self.store.list(under.as_ref()).map_ok(|object| object.location);
        Ok(objects.try_collect().await?)
    }

    /// Makes an object unless there is one of that name: of two who try, one does.
    pub(crate) async fn create(&self, path: &Path, content: Vec<u8>) -> Result<Created, LakeError> {
        self.step()?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path, content.into(), options).await {
            Ok(_) => {
                self.sync(path).await?;
                self.step()?;
                Ok(Created::Now)
            }
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Created::Before),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies a file into an object, a few parts of it in memory at a time.
    pub(crate) async fn upload(&self, path: &Path, file: PathBuf) -> Result<(), LakeError> {
        self.step()?;
        let upload = self.store.put_multipart(path).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut file = Some(File::open(file)?);
        while let Some(mut reading) = file.take() {
            let part = tokio::task::spawn_blocking(move || {
                let mut part = Vec::with_capacity(PART_BYTES);
                let read = (&mut reading).take(PART_BYTES as u64).read_to_end(&mut part)?;
                Ok::<_, io::Error>((reading, part, read))
            });
            let (reading, part, read) = part.await.map_err(io::Error::other)??;
            if read > 0 {
                upload.wait_for_capacity(PARTS).await?;
                upload.put(part.into());
                file = Some(reading);
            }
        }
        upload.finish().await?;
        self.sync(path).await?;
        self.step()
    }

    /// Removes an object; one that is gone is as good.
    pub(crate) async fn remove(&self, path: &Path) -> Result<(), LakeError> {
        self.step()?;
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => self.step(),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a file of a folder, and the folders above it, survive a power cut.
    async fn sync(&self, path: &Path) -> Result<(), LakeError> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let file = folder.join(path.as_ref());
        let synced = tokio::task::spawn_blocking(move || {
            for place in file.ancestors() {
                File::open(place)?.sync_all()?;
                if place == folder {
                    break;
                }
            }
            Ok(())
        });
        synced.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(LakeError::Io)
    }
}

/// Makes a folder that survives a power cut.
fn make(folder: &FilePath) -> io::Result<()> {
    let missing: Vec<&FilePath> = folder.ancestors().take_while(|place| !place.exists()).collect();
    std::fs::create_dir_all(folder)?;
    for parent in missing.into_iter().filter_map(FilePath::parent) {
        let parent = if parent.as_os_str().is_empty() { FilePath::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn bucket(s3: &S3Location) -> Result<Arc<dyn ObjectStore>, LakeError> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&s3.bucket)
        .with_virtual_hosted_style_request(s3.virtual_hosted)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig { max_retries: RETRIES, retry_timeout: PATIENCE, ..RetryConfig::default() });
    if !s3.endpoint.is_empty() {
        builder = builder.with_endpoint(&s3.endpoint).with_allow_http(s3.endpoint.starts_with("http://"));
    }
    if !s3.region.is_empty() {
        builder = builder.with_region(&s3.region);
    }
    if !s3.access_key_id.is_empty() {
        builder = builder.with_access_key_id(&s3.access_key_id).with_secret_access_key(&s3.secret_access_key);
    }
    let store = builder.build()?;
    Ok(match s3.prefix.trim_matches('/') {
        "" => Arc::new(store),
        prefix => Arc::new(PrefixStore::new(store, prefix)),
    })
}

/// What a crash left of uploads: the store writes to `NAME#NUMBER` and renames, and lists none of these.
fn remove_unfinished(folder: &FilePath) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_unfinished(&entry.path())?;
        } else if entry.file_name().to_string_lossy().rsplit_once('#').is_some_and(|(_, number)| is_number(number)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

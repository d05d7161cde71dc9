//! The data folder: what lies in it besides log and store, and where it is when nobody says.
//!
//! A serving hub leaves two files for commands on the same machine: `endpoints.json` (where it listens) and `admin.key`
//! (`admin:SECRET`, readable by its owner only).

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Where a running hub listens: addresses that a client on this machine can connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    pub(crate) pid: u32,
    pub(crate) version: String,
    /// The management listener, such as `http://127.0.0.1:8080`.
    pub(crate) http: String,
    /// The MQTT listener, such as `127.0.0.1:1883`.
    pub(crate) mqtt: String,
    /// The listener for MQTT over TLS, such as `127.0.0.1:8883`.
    pub(crate) mqtts: Option<String>,
    /// The listener for WebSockets, such as `127.0.0.1:8081`.
    pub(crate) ws: String,
    /// The listener for secure WebSockets, such as `127.0.0.1:8443`.
    pub(crate) wss: Option<String>,
    /// The socket for CoAP over UDP, such as `127.0.0.1:5683`.
    #[serde(default)]
    pub(crate) coap: Option<String>,
    /// The socket for CoAP over DTLS, such as `127.0.0.1:5684`.
    #[serde(default)]
    pub(crate) coaps: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("there is no home folder to keep data in; say where by --data DIR")]
    NoHome,
    #[error("cannot {action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("others can read {}, which holds the administrator's secret; run: chmod 600 {}", path.display(), path.display())]
    Exposed { path: PathBuf },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: &'static str },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataFolder(PathBuf);

impl DataFolder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// `$XDG_DATA_HOME/weir`, or `~/.local/share/weir`.
    pub(crate) fn default_place(variable: impl Fn(&str) -> Option<String>) -> Result<Self, DataError> {
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
        Ok(Self(base.ok_or(DataError::NoHome)?.join("weir")))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The hub's certificate authority, and its own certificate.
    pub(crate) fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }

    /// The lake, where no other place is named.
    pub(crate) fn lake(&self) -> PathBuf {
        self.0.join("lake")
    }

    /// Files of the lake while they are made.
    pub(crate) fn lake_scratch(&self) -> PathBuf {
        self.0.join("lake.new")
    }

    /// What this hub is called in its lake: made once, so that no two write to one lake.
    pub(crate) fn lake_owner(&self) -> Result<String, DataError> {
        let path = self.0.join("lake.id");
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(self.failed("read", path, source)),
            _ => {}
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| self.failed("make", path.clone(), io::Error::other(error)))?;
        let owner: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.replace(&path, owner.as_bytes())?;
        // A lake of a name that a power cut took could not be read any more.
        let synced = fs::File::open(&self.0).and_then(|folder| folder.sync_all());
        synced.map_err(|source| self.failed("sync", path, source))?;
        Ok(owner)
    }

    /// Compiled plugins.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.0.join("plugins")
    }

    pub(crate) fn admin_key_file(&self) -> PathBuf {
        self.0.join("admin.key")
    }

    pub(crate) fn endpoints_file(&self) -> PathBuf {
        self.0.join("endpoints.json")
    }

    /// Makes the folder, for its owner only, unless it exists.
    pub(crate) fn create(&self) -> Result<(), DataError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|source| self.failed("make the data folder", self.0.clone(), source))
    }

    /// The administrator's key, `NAME:SECRET`; `None` if there is no file.
    pub(crate) fn admin_key(&self) -> Result<Option<String>, DataError> {
        let path = self.admin_key_file();
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.permissions().mode(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed("read", path, source)),
        };
        if mode & 0o077 != 0 {
            return Err(DataError::Exposed { path });
        }
        let text = fs::read_to_string(&path).map_err(|source| self.failed("read", path.clone(), source))?;
        let key = text.trim_end_matches('\n');
        if key.split_once(':').is_none_or(|(name, secret)| name.is_empty() || secret.is_empty()) {
            return Err(DataError::Damaged {
                path,
                reason: "it must hold admin:SECRET; remove it and a new one is made",
            });
        }
        Ok(Some(key.to_owned()))
    }

    pub(crate) fn write_admin_key(&self, key: &str) -> Result<(), DataError> {
        self.replace(&self.admin_key_file(), key.as_bytes())
    }

    /// `None` if no hub serves this folder, as far as the folder knows.
    pub(crate) fn endpoints(&self) -> Result<Option<Endpoints>, DataError> {
        let path = self.endpoints_file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed("read", path, source)),
        };
        let endpoints = serde_json::from_slice(&text).map_err(|_| DataError::Damaged {
            path,
            reason: "it does not say where the hub listens; restart the hub",
        })?;
        Ok(Some(endpoints))
    }

    pub(crate) fn write_endpoints(&self, endpoints: &Endpoints) -> Result<(), DataError> {
        let path = self.endpoints_file();
        let text = serde_json::to_vec_pretty(endpoints)
            .map_err(|error| self.failed("write", path.clone(), io::Error::other(error)))?;
        self.replace(&path, &text)
    }

    pub(crate) fn remove_endpoints(&self) -> Result<(), DataError> {
        let path = self.endpoints_file();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.failed("remove", path, source)),
            _ => Ok(()),
        }
    }

    /// Readers see the old content or the new, whole.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), DataError> {
        let failed = |source| self.failed("write", path.to_owned(), source);
        let mut new = path.to_owned().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        // A file left by a crash may have another mode.
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&new, path).map_err(failed)
    }

    fn failed(&self, action: &'static str, path: PathBuf, source: io::Error) -> DataError {
        DataError::File { action, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(variables: &[(&str, &str)]) -> Result<PathBuf, DataError> {
        let variable =
            |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        Ok(DataFolder::default_place(variable)?.path().to_owned())
    }

    #[test]
    fn the_default_place_follows_xdg() {
        assert_eq!(place(&[("HOME", "/home/u")]).unwrap(), Path::new("/home/u/.local/share/weir"));
        assert_eq!(place(&[("HOME", "/home/u"), ("XDG_DATA_HOME", "/d")]).unwrap(), Path::new("/d/weir"));
        // A relative path there is to be ignored, says the XDG specification.
        assert_eq!(place(&[("HOME", "/h"), ("XDG_DATA_HOME", "d")]).unwrap(), Path::new("/h/.local/share/weir"));
        assert!(matches!(place(&[]), Err(DataError::NoHome)));
    }

    #[test]
    fn endpoints_are_found_until_they_are_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(temporary.path().join("a/b"));
        folder.create().unwrap();
        assert_eq!(folder.endpoints().unwrap(), None);
        let endpoints = Endpoints {
            pid: 7,
            version: "0.1.0".into(),
            http: "http://127.0.0.1:8080".into(),
            mqtt: "127.0.0.1:1883".into(),
            mqtts: Some("127.0.0.1:8883".into()),
            ws: "127.0.0.1:8081".into(),
            wss: Some("127.0.0.1:8443".into()),
            coap: Some("127.0.0.1:5683".into()),
            coaps: Some("127.0.0.1:5684".into()),
        };
        folder.write_endpoints(&endpoints).unwrap();
        folder.write_endpoints(&endpoints).unwrap();
        assert_eq!(folder.endpoints().unwrap(), Some(endpoints));
        folder.remove_endpoints().unwrap();
        folder.remove_endpoints().unwrap();
        assert_eq!(folder.endpoints().unwrap(), None);
        fs::write(folder.endpoints_file(), "{").unwrap();
        assert!(matches!(folder.endpoints(), Err(DataError::Damaged { .. })));
    }

    #[test]
    fn the_administrator_key_is_for_its_owner_only() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(temporary.path());
        assert_eq!(folder.admin_key().unwrap(), None);
        folder.write_admin_key("admin:s3cret").unwrap();
        assert_eq!(folder.admin_key().unwrap().as_deref(), Some("admin:s3cret"));
        let mode = |mode| fs::set_permissions(folder.admin_key_file(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(folder.admin_key_file()).unwrap().permissions().mode() & 0o777, 0o600);
        mode(0o640);
        assert!(matches!(folder.admin_key(), Err(DataError::Exposed { .. })));
        mode(0o600);
        fs::write(folder.admin_key_file(), "admin").unwrap();
        assert!(matches!(folder.admin_key(), Err(DataError::Damaged { .. })));
    }
}

//! Files of keys and certificates: written as a whole or not at all, for their owner alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use openssl::pkey::{PKey, Private};

use super::AuthorityError;

pub(super) fn create_folder(folder: &Path) -> Result<(), AuthorityError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))
}

/// `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, AuthorityError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

pub(super) fn read_key(path: &Path) -> Result<Option<PKey<Private>>, AuthorityError> {
    check_private(path)?;
    let Some(pem) = read(path)? else { return Ok(None) };
    // An answer for the passphrase, because the library would ask at the terminal.
    let key = PKey::private_key_from_pem_passphrase(&pem, b"");
    key.map(Some).map_err(|source| AuthorityError::Key { path: path.to_owned(), source })
}

/// Refuses a key that others can read.
pub(super) fn check_private(path: &Path) -> Result<(), AuthorityError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            Err(AuthorityError::Exposed { path: path.to_owned() })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path)(error)),
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), AuthorityError> {
    let replace = || {
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // The name must survive a power cut too.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    replace().map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> AuthorityError {
    move |source| AuthorityError::File { path: path.to_owned(), source }
}

//! Encryption at rest: a key file beside the database, XChaCha20-Poly1305, and the name of a value as associated data,
//! so that a sealed value moved to another name does not open.

use std::{
    fmt, fs, io,
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};

use crate::{OpenError, StoreError, credential};

const KEY_FILE: &str = "secret.key";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// The first byte of a sealed value: how the rest is to be read.
const FORMAT: u8 = 1;

pub(crate) struct Vault {
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(***)")
    }
}

impl Vault {
    /// Reads the key file. Makes one if there is none, unless `proof` shows that this store had one; `proof` is what
    /// [`Vault::proof`] gave.
    pub(crate) fn open(folder: &Path, proof: Option<&[u8]>) -> Result<Self, OpenError> {
        let path = folder.join(KEY_FILE);
        let key = match read_key(&path) {
            Ok(key) => key,
            Err(OpenError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound && proof.is_none() => {
                make_key(folder, &path)?
            }
            Err(OpenError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::KeyLost { path });
            }
            Err(error) => return Err(error),
        };
        let vault = Self { cipher: XChaCha20Poly1305::new(&key.into()) };
        match proof {
            Some(proof) if vault.unseal("key", proof).is_err() => Err(OpenError::KeyLost { path }),
            _ => Ok(vault),
        }
    }

    /// A sealed value by which the key is known again.
    pub(crate) fn proof(&self) -> Result<Vec<u8>, StoreError> {
        self.seal("key", b"")
    }

    pub(crate) fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce = credential::random::<NONCE_BYTES>()?;
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: name.as_bytes() })
            .map_err(|_| StoreError::Failed(format!("cannot encrypt {name:?}")))?;
        Ok([&[FORMAT], nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let damaged = || StoreError::Damaged(format!("{name:?} cannot be decrypted"));
        let rest = sealed.strip_prefix(&[FORMAT]).ok_or_else(damaged)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: rest, aad: name.as_bytes() }).map_err(|_| damaged())
    }
}

fn read_key(path: &Path) -> Result<[u8; KEY_BYTES], OpenError> {
    let failed = |error| OpenError::File { path: path.to_owned(), error };
    let file = fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OpenError::KeyExposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES);
    // One byte more than a key, so that a longer file is noticed and a huge one is not read.
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    bytes.try_into().map_err(|_| OpenError::KeyLost { path: path.to_owned() })
}

/// Written beside and renamed, so that a crash leaves a whole key or none.
fn make_key(folder: &Path, path: &Path) -> Result<[u8; KEY_BYTES], OpenError> {
    let key = credential::random::<KEY_BYTES>()
        .map_err(|error| OpenError::Failed { path: path.to_owned(), reason: error.to_string() })?;
    let fresh: PathBuf = path.with_extension("key.new");
    let written = || {
        fs::remove_file(&fresh).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        fs::File::open(folder)?.sync_all()
    };
    written().map_err(|error| OpenError::File { path: path.to_owned(), error })?;
    Ok(key)
}

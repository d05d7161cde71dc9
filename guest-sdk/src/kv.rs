//! Keys and values that outlast a restart: `GRANT kv '10 MiB'`.

use std::fmt;

/// Why a store of keys and values did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Not granted; the text says how to.
    Denied(String),
    /// The grant is used up, or a key is too long.
    Full(String),
    /// The store failed.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(reason) | Self::Full(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

/// The value of a key.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::weir::plugin::kv::get(key).map_err(Error::from);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with_values(|values| Ok(values.get(key).cloned()))
}

/// Sets a key. It is on disk when this returns.
pub fn set(key: &str, value: &[u8]) -> Result<(), Error> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::weir::plugin::kv::set(key, value).map_err(Error::from);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with_values(|values| {
        values.insert(key.to_owned(), value.to_owned());
        Ok(())
    })
}

/// Forgets a key.
pub fn delete(key: &str) -> Result<(), Error> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::weir::plugin::kv::delete(key).map_err(Error::from);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with_values(|values| {
        values.remove(key);
        Ok(())
    })
}

#[cfg(target_arch = "wasm32")]
impl From<crate::bindings::weir::plugin::kv::Error> for Error {
    fn from(error: crate::bindings::weir::plugin::kv::Error) -> Self {
        use crate::bindings::weir::plugin::kv::Error as Host;
        match error {
            Host::Denied(reason) => Self::Denied(reason),
            Host::Full(reason) => Self::Full(reason),
            Host::Failed(reason) => Self::Failed(reason),
        }
    }
}

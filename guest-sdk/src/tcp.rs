//! Connections by TCP to hosts that are granted: `GRANT tcp 'cache.example.com:6379'`.

use std::fmt;

/// Why a connection did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Not granted; the text says how to.
    Denied(String),
    /// Not connected, or not any more.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

/// An open connection. It is closed when it is dropped.
#[derive(Debug)]
pub struct Connection {
    #[cfg(target_arch = "wasm32")]
    host: crate::bindings::weir::plugin::tcp::Connection,
    #[cfg(not(target_arch = "wasm32"))]
    host: crate::testing::Peer,
}

impl Connection {
    /// Connects to `host:port`.
    pub fn open(address: &str) -> Result<Self, Error> {
        #[cfg(target_arch = "wasm32")]
        let host = crate::bindings::weir::plugin::tcp::Connection::connect(address).map_err(Error::from)?;
        #[cfg(not(target_arch = "wasm32"))]
        let host = crate::testing::connect(address)?;
        Ok(Self { host })
    }

    /// Sends all of it.
    pub fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        #[cfg(target_arch = "wasm32")]
        return self.host.send(data).map_err(Error::from);
        #[cfg(not(target_arch = "wasm32"))]
        self.host.send(data)
    }

    /// Waits for bytes, at most `limit`. None: the other side has closed.
    pub fn receive(&mut self, limit: u32) -> Result<Vec<u8>, Error> {
        #[cfg(target_arch = "wasm32")]
        return self.host.receive(limit).map_err(Error::from);
        #[cfg(not(target_arch = "wasm32"))]
        self.host.receive(limit)
    }
}

#[cfg(target_arch = "wasm32")]
impl From<crate::bindings::weir::plugin::tcp::Error> for Error {
    fn from(error: crate::bindings::weir::plugin::tcp::Error) -> Self {
        use crate::bindings::weir::plugin::tcp::Error as Host;
        match error {
            Host::Denied(reason) => Self::Denied(reason),
            Host::Failed(reason) => Self::Failed(reason),
        }
    }
}

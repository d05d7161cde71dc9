//! Keys and values on disk, for one use of a plugin.

use std::sync::Arc;

use weir_core::Grant;

use crate::{
    bindings::kv::{Error, Host},
    instance::State,
};

const KEY_BYTES: usize = 1 << 10;

impl State {
    /// How many bytes are granted.
    fn room(&self) -> Result<u64, Error> {
        let granted = self.used.grants.iter().find_map(|grant| match grant {
            Grant::Kv { bytes } => Some(*bytes),
            Grant::Http(_) | Grant::Tcp(_) => None,
        });
        granted.ok_or_else(|| Error::Denied(self.used.denied("kv '10 MiB'")))
    }
}

impl Host for State {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        if let Err(error) = self.room() {
            return Ok(Err(error));
        }
        let (values, used) = (Arc::clone(&self.services.values), Arc::clone(&self.used));
        Ok(values.get(&used.owner, &key).await.map_err(Error::Failed))
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        let room = match self.room() {
            Ok(room) => room,
            Err(error) => return Ok(Err(error)),
        };
        if key.len() > KEY_BYTES {
            return Ok(Err(Error::Full(format!("a key has at most {KEY_BYTES} bytes"))));
        }
        let (values, used) = (Arc::clone(&self.services.values), Arc::clone(&self.used));
        let set = values.set(&used.owner, &key, value, room).await;
        Ok(match set {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Full(format!("the {room} bytes that are granted are used up"))),
            Err(reason) => Err(Error::Failed(reason)),
        })
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), Error>> {
        if let Err(error) = self.room() {
            return Ok(Err(error));
        }
        let (values, used) = (Arc::clone(&self.services.values), Arc::clone(&self.used));
        Ok(values.delete(&used.owner, &key).await.map_err(Error::Failed))
    }
}

//! The hub's clock.

use crate::{bindings::clock::Host, instance::State};

impl Host for State {
    async fn now(&mut self) -> wasmtime::Result<i64> {
        Ok((self.services.now)().0)
    }

    async fn monotonic(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

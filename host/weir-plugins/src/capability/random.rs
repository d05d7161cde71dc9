//! Random bytes of the operating system.

use crate::{bindings::random::Host, fault::Cause, instance::State};

const MOST: u32 = 64 << 10;

impl Host for State {
    async fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        if count > MOST {
            return Err(Cause::Malformed(format!("{count} random bytes at once, and {MOST} is the most")).into());
        }
        let mut bytes = vec![0; count as usize];
        getrandom::fill(&mut bytes).map_err(|error| wasmtime::Error::msg(error.to_string()))?;
        Ok(bytes)
    }
}

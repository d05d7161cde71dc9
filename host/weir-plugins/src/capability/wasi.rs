//! WASI, for components of toolchains that import it: there is no environment, no argument, no file and no stream. Time
//! and random bytes are the hub's. What else is called of it traps, and the trap says what was called.

use wasmtime::component::{Component, Linker};

use crate::instance::State;

/// Satisfies what a component imports of WASI.
pub(crate) fn satisfy(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
    let mut environment = linker.instance("wasi:cli/environment@0.2.0")?;
    environment.func_wrap("get-environment", |_, ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_, ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_, ()| Ok((None::<String>,)))?;

    let mut random = linker.instance("wasi:random/random@0.2.0")?;
    random.func_wrap("get-random-bytes", |_, (count,): (u64,)| Ok((bytes(count)?,)))?;
    random.func_wrap("get-random-u64", |_, ()| Ok((number()?,)))?;
    let mut insecure = linker.instance("wasi:random/insecure@0.2.0")?;
    insecure.func_wrap("get-insecure-random-bytes", |_, (count,): (u64,)| Ok((bytes(count)?,)))?;
    insecure.func_wrap("get-insecure-random-u64", |_, ()| Ok((number()?,)))?;
    let mut seed = linker.instance("wasi:random/insecure-seed@0.2.0")?;
    seed.func_wrap("insecure-seed", |_, ()| Ok(((number()?, number()?),)))?;

    let mut monotonic = linker.instance("wasi:clocks/monotonic-clock@0.2.0")?;
    monotonic.func_wrap("now", |context, ()| {
        Ok((u64::try_from(context.data().started.elapsed().as_nanos()).unwrap_or(u64::MAX),))
    })?;
    monotonic.func_wrap("resolution", |_, ()| Ok((1_u64,)))?;

    linker.define_unknown_imports_as_traps(component)
}

fn bytes(count: u64) -> wasmtime::Result<Vec<u8>> {
    const MOST: u64 = 64 << 10;
    let mut bytes = vec![0; usize::try_from(count.min(MOST)).unwrap_or_default()];
    getrandom::fill(&mut bytes).map_err(|error| wasmtime::Error::msg(error.to_string()))?;
    Ok(bytes)
}

fn number() -> wasmtime::Result<u64> {
    getrandom::u64().map_err(|error| wasmtime::Error::msg(error.to_string()))
}

//! What a component is: the world that it exports, and what it imports.

use sha2::{Digest, Sha256};
use wasmtime::component::Linker;
use weir_core::plugin::{PluginError, PluginSummary, PluginWorld};

use crate::{bindings, capability, engine::Engine, instance::State, options::PluginOptions, signature};

/// Interfaces of the package that a component may import.
const CAPABILITIES: [&str; 7] = ["types", "log", "clock", "random", "kv", "http", "tcp"];

const VERSION: &str = "@0.1.0";

/// A component, ready to be instantiated.
pub(crate) struct Version {
    pub(crate) summary: PluginSummary,
    pub(crate) world: World,
}

pub(crate) enum World {
    Sink(bindings::sink::SinkPre<State>),
}

/// Checks and compiles. Blocks for as long as compiling takes.
pub(crate) fn load(
    engine: &Engine,
    linker: &Linker<State>,
    options: &PluginOptions,
    bytes: &[u8],
) -> Result<Version, PluginError> {
    let (size, limit) = (bytes.len(), options.component_bytes);
    if size > limit {
        return Err(PluginError::TooLarge { size, limit });
    }
    check_form(bytes)?;
    let mut warnings = Vec::new();
    let signed_by = signature::check(bytes, options, &mut warnings)?;
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let component = engine.component(&digest, bytes).map_err(|error| {
        PluginError::Invalid(format!("the component cannot be compiled: {}", one_line(&format!("{error:#}"))))
    })?;
    let mut imports = Vec::new();
    for (name, _) in component.component_type().imports(&engine.wasmtime) {
        let interface = name.strip_prefix("weir:plugin/").and_then(|name| name.strip_suffix(VERSION));
        match interface.filter(|interface| CAPABILITIES.contains(interface)) {
            Some("types") => {}
            Some(interface) => imports.push(interface.to_owned()),
            None if name.starts_with("wasi:") => {}
            None => {
                return Err(PluginError::Invalid(format!(
                    "the component imports {}, which this hub does not have; it has weir:plugin{VERSION} with {}",
                    one_line(name),
                    CAPABILITIES.join(", ")
                )));
            }
        }
    }
    imports.sort_unstable();
    let exports: Vec<String> =
        component.component_type().exports(&engine.wasmtime).map(|(name, _)| name.to_owned()).collect();
    let world = match exports.iter().find_map(|name| world_of(name)) {
        Some(world) => world,
        None => {
            let shown = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            return Err(PluginError::Invalid(format!(
                "the component exports {}, and no world of weir:plugin{VERSION}: sink",
                one_line(&shown)
            )));
        }
    };
    let mut linker = linker.clone();
    let failed = |error: wasmtime::Error| {
        PluginError::Invalid(format!("the component does not fit world {world}: {}", one_line(&format!("{error:#}"))))
    };
    capability::satisfy(&mut linker, &component).map_err(failed)?;
    let instance = linker.instantiate_pre(&component).map_err(failed)?;
    let loaded = match world {
        PluginWorld::Sink => World::Sink(bindings::sink::SinkPre::new(instance).map_err(failed)?),
    };
    let summary = PluginSummary { digest, world, size: size as u64, imports, signed_by, warnings };
    Ok(Version { summary, world: loaded })
}

fn world_of(export: &str) -> Option<PluginWorld> {
    match export.strip_prefix("weir:plugin/")?.strip_suffix(VERSION)? {
        "sinks" => Some(PluginWorld::Sink),
        _ => None,
    }
}

/// The first eight bytes say whether it is a component.
fn check_form(bytes: &[u8]) -> Result<(), PluginError> {
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    if bytes.starts_with(COMPONENT) {
        return Ok(());
    }
    let reason = match bytes.starts_with(MODULE) {
        true => "this is a core module, not a component: make one of it by `weir plugin build`",
        false => "this is not a WebAssembly component",
    };
    Err(PluginError::Invalid(reason.to_owned()))
}

/// What the compiler says of a hostile file is shown on one line, and not for long.
fn one_line(text: &str) -> String {
    capability::said(text, 400)
}

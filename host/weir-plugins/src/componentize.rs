//! A component of what a compiler for plain WebAssembly made.

use wit_component::ComponentEncoder;

#[derive(Debug, thiserror::Error)]
#[error("no component can be made of it: {0}")]
pub struct ComponentizeError(String);

/// Wraps a core module, which names its world in a section of its own, into a component.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| ComponentizeError(format!("{error:#}")))
}

//! Lines for the hub's log.

use std::fmt::Display;

#[cfg(target_arch = "wasm32")]
use crate::bindings::weir::plugin::log::{self, Level};

/// What helps to understand a plugin that misbehaves.
pub fn debug(message: impl Display) {
    #[cfg(target_arch = "wasm32")]
    log::write(Level::Debug, &message.to_string());
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::logged("debug", message.to_string());
}

/// What an operator may like to know.
pub fn info(message: impl Display) {
    #[cfg(target_arch = "wasm32")]
    log::write(Level::Info, &message.to_string());
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::logged("info", message.to_string());
}

/// What an operator should look at.
pub fn warn(message: impl Display) {
    #[cfg(target_arch = "wasm32")]
    log::write(Level::Warn, &message.to_string());
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::logged("warn", message.to_string());
}

/// What an operator must look at.
pub fn error(message: impl Display) {
    #[cfg(target_arch = "wasm32")]
    log::write(Level::Error, &message.to_string());
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::logged("error", message.to_string());
}

/// A panic reaches the hub as a trap without a text, so the text is logged before.
#[doc(hidden)]
pub fn tell_of_panics() {
    #[cfg(target_arch = "wasm32")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| error(panic))));
    }
}

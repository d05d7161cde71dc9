//! The WIT worlds in Rust, as wasmtime generates them.

#[allow(clippy::all, clippy::indexing_slicing, clippy::unwrap_used, reason = "generated code")]
pub(crate) mod sink {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "weir:plugin/sink@0.1.0",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "weir:plugin/tcp.connection": crate::capability::TcpConnection },
    });
}

pub(crate) use sink::weir::plugin::{clock, http, kv, log, random, tcp, types};

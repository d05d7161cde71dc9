//! HTTP: the management listener, with REST under `/v1`, `/healthz` and `/metrics`; and the gateway for devices
//! ([`mod@gateway`]), which shares its ports with WebSockets.
//!
//! A request is read, its bearer key is proved by the broker, and one function of the broker answers it. One table maps
//! error kinds to status codes ([`mod@error`]), one list names every route with who may use it ([`mod@router`]).
//!
//! Architecture invariant: this crate decides nothing about authority over topics, limits of messages or the state of
//! the hub. It speaks HTTP and JSON; `weir_broker` and its `admin` functions do the work.

mod access;
mod error;
mod extract;
mod gateway;
mod issue;
mod options;
mod probes;
mod router;
mod server;
mod stall;
mod v1;

#[cfg(test)]
mod tests;

pub use gateway::{Gateway, GatewayLimits};
pub use options::{
    CertificateAuthority, Endpoint, HttpLimits, HttpOptions, IssuedCertificate, RegisteredAuthority, RegistrationProof,
};
pub use server::serve;

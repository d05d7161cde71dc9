//! The API over a real broker, store and log; only the rule language, the targets and the query engine are small stand-ins.

mod answers;
mod errors;
mod every_route;
mod gateway;
mod hub;
mod parts;
mod rights;
mod shadows;
mod sockets;
mod streams;

//! Real clients against an acceptor: OpenSSL's command line, and rustls in this process.

mod certificates;
mod hub;
mod keys;
mod memory;
mod records;
mod registration;
mod strangers;
mod trust;

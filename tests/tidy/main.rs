//! The rules of this repository that no compiler checks, as tests: what may depend on what, what may enter the
//! dependency tree, and how source files look. They read `cargo metadata`, `deny.toml` and the files; they know
//! nothing of what the code does.

#![cfg(test)]

mod arrows;
mod conformance;
mod dependencies;
mod licence;
mod metadata;
mod sources;

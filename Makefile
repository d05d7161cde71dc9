# Two commands. Both see to what they need of the system first: see .ci/setup.

SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/weir/target

.PHONY: run test

# Builds the hub and serves with the defaults. The first build takes a quarter of an hour on two cores.
run:
	@.ci/setup run
	cargo build --release --locked --package weir
	exec "$(CARGO_TARGET_DIR)/release/weir" serve

# Everything that CI checks. One set of features and one profile, so that each dependency is compiled once (and checked once).
test:
	@.ci/setup test
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo build --workspace --lib --bins --tests --locked
	cargo test --workspace --locked --no-fail-fast

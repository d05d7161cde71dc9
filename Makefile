# Three commands. All see to what they need of the system first: see .ci/setup.

SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/weir/target

.PHONY: run test fuzz

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

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= weir-mqtt/codec weir-mqtt/connection weir-mqtt/topics weir-coap/packet weir-coap/blockwise weir-coap/observe

# Each fuzz target for so many seconds, from its seeds and from what earlier runs found worth keeping. Needs no nightly Rust.
fuzz:
	@.ci/setup run
	@cargo fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: type 'cargo install --locked cargo-fuzz'" >&2; exit 1; }
	@set -e; for each in $(FUZZ_TARGETS); do \
		crate="$${each%/*}"; target="$${each#*/}"; \
		corpus="$(CARGO_TARGET_DIR)/corpus/$$each"; mkdir -p "$$corpus"; \
		(cd "host/$$crate" && cargo fuzz run --sanitizer none "$$target" "$$corpus" "fuzz/seeds/$$target" -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=2048 -timeout=10 -print_final_stats=1); \
	done

//! The components of `plugins/`, compiled once for all tests of this process.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The component of a plugin in `plugins/`.
pub(super) fn component(name: &str) -> Vec<u8> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let module = FOLDER.get_or_init(compile).join(format!("{name}.wasm"));
    crate::componentize(&std::fs::read(module).unwrap()).unwrap()
}

fn compile() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap().join("guests");
    // What `.ci/wasm-target` found that cargo must be told.
    let told = std::env::home_dir().unwrap().join(".cache/weir/wasm/env");
    let told = std::fs::read_to_string(told).unwrap_or_default();
    let told: Vec<(&str, &str)> = told.lines().filter_map(|line| line.split_once('=')).collect();
    let cargo = told.iter().find(|(name, _)| *name == "CARGO").map_or("cargo", |(_, cargo)| cargo);
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--target", "wasm32-unknown-unknown"])
        .current_dir(root.join("plugins"))
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .envs(told.iter().copied())
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the plugins do not compile; .ci/wasm-target says what is missing:\n{said}");
    target.join("wasm32-unknown-unknown/release")
}

//! `weir plugin build`: cargo compiles the project for WebAssembly, and what comes out is made a component.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{Failure, Output};

const TARGET: &str = "wasm32-unknown-unknown";

const INSTALL: &str = "install the target: rustup target add wasm32-unknown-unknown";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The project's folder
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    /// Where the component goes [default: the plugin's name in the project's folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let module = compile(&args.folder)?;
    let name = module.file_name().map(PathBuf::from).unwrap_or_default();
    let component = weir_plugins::componentize(&super::read(&module)?)
        .map_err(|error| Failure::refused(error.to_string()).hint("does the crate use weir_guest::export_sink!?"))?;
    let place = args.out.clone().unwrap_or_else(|| args.folder.join(name));
    let failed = |error| Failure::refused(format!("cannot write {}: {error}", place.display()));
    fs::write(&place, &component).map_err(failed)?;
    let place = place.display().to_string();
    let answer = json!({ "component": place, "bytes": component.len() });
    out.done(&answer, &format!("{place} made, {} KiB\nnext: weir plugin push {place}", component.len() / 1024))
}

/// Runs cargo, and says where the module is. What cargo says goes to standard error as it is.
fn compile(folder: &Path) -> Result<PathBuf, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let done = Command::new(&cargo)
        .args(["build", "--release", "--lib", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| {
            Failure::refused(format!("cannot run {}: {error}", cargo.display()))
                .hint("install Rust: https://rustup.rs says how")
        })?;
    if !done.status.success() {
        let failure = Failure::refused("the plugin does not compile");
        return Err(if has_target(folder) { failure } else { failure.hint(INSTALL) });
    }
    let messages = String::from_utf8_lossy(&done.stdout);
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut modules = artifacts.filter_map(|artifact| {
        let files = artifact.get("filenames")?.as_array()?;
        let module = files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm"))?;
        Some(PathBuf::from(module))
    });
    modules.next_back().ok_or_else(|| {
        Failure::refused("cargo made no WebAssembly module")
            .hint("in Cargo.toml of the plugin: [lib] crate-type = [\"cdylib\", \"lib\"]")
    })
}

/// Whether the compiler has a standard library for the target.
fn has_target(folder: &Path) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder).output();
    asked.is_ok_and(|answer| {
        let folder = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())
    })
}

//! Weir, the program: the hub itself (`weir serve`) and the commands that speak to a running one.

mod bench;
mod cli;
mod config;
mod data;
mod open_files;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}

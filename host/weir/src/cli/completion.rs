//! `weir completion`: scripts that complete commands in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, failure::Failure, output::Output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    shell: Shell,
}

pub(crate) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut script);
    out.bytes(&[&script])
}

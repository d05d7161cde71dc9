//! `weir plugin`: make, build, try, sign and upload plugins.

mod build;
mod new;
mod push;
mod sign;
mod trial;

use super::{failure::Failure, hub::Target, output::Output, wait};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// Make a project for a new plugin: it builds anywhere, since it brings the SDK along
    New(new::Args),
    /// Compile a plugin's project to a component
    Build(build::Args),
    /// Upload a component; what uses the plugin goes on with it from its next batch
    Push(push::Args),
    /// Write rows to a component on this machine, without a hub
    Test(trial::Args),
    /// Make a key to sign plugins with
    Keygen(sign::KeygenArgs),
    /// Sign a component, in the file itself
    Sign(sign::Args),
}

pub(crate) fn run(what: What, target: &Target, out: Output) -> Result<(), Failure> {
    match what {
        What::New(args) => new::run(&args, out),
        What::Build(args) => build::run(&args, out),
        What::Push(args) => wait(push::run(args, &target.hub()?, out)),
        What::Test(args) => wait(trial::run(args, out)),
        What::Keygen(args) => sign::keygen(&args, out),
        What::Sign(args) => sign::run(&args, out),
    }
}

/// Reads a file that a command was told to.
fn read(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

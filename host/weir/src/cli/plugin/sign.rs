//! `weir plugin keygen` and `sign`.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use serde_json::json;
use weir_plugins::SigningKey;

use super::{Failure, Output};

#[derive(Debug, clap::Args)]
pub(crate) struct KeygenArgs {
    /// The file that the secret key goes to; it must not be there yet
    #[arg(long, value_name = "FILE", default_value = "weir-plugin.key")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The secret key, as `weir plugin keygen` made it
    #[arg(long, value_name = "FILE", default_value = "weir-plugin.key")]
    key_file: PathBuf,
}

pub(super) fn keygen(args: &KeygenArgs, out: Output) -> Result<(), Failure> {
    let key = SigningKey::generate().map_err(|error| Failure::refused(error.to_string()))?;
    let failed = |error| Failure::usage(format!("cannot write {}: {error}", args.out.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.out).map_err(failed)?;
    file.write_all(format!("{}\n", key.text()).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let (place, public) = (args.out.display().to_string(), key.public().to_string());
    let words = format!(
        "secret key  {place}\npublic key  {public}\nnext: trust it in the hub's configuration: plugins.trusted_keys = [\"NAME:{public}\"]"
    );
    out.done(&json!({ "secret_key_file": place, "public_key": public }), &words)
}

pub(super) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let text = super::read(&args.key_file)?;
    let key = SigningKey::read(&String::from_utf8_lossy(&text));
    let key = key.map_err(|error| Failure::usage(format!("{}: {error}", args.key_file.display())))?;
    let signed = key.sign(&super::read(&args.file)?);
    fs::write(&args.file, signed)
        .map_err(|error| Failure::refused(format!("cannot write {}: {error}", args.file.display())))?;
    let place = args.file.display().to_string();
    out.done(&json!({ "component": place, "public_key": key.public().to_string() }), &format!("{place} is signed"))
}

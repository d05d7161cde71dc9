//! `weir plugin push`: uploads a component.

use std::path::PathBuf;

use serde_json::Value;
use weir_core::PluginName;

use super::{Failure, Output};
use crate::cli::{
    hub::Hub,
    output::{plain, text},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The plugin's name [default: the file's, without its ending]
    #[arg(long)]
    name: Option<PluginName>,
}

pub(super) async fn run(args: Args, hub: &Hub, out: Output) -> Result<(), Failure> {
    let name = match args.name {
        Some(name) => name,
        None => {
            let stem = args.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let named = super::new::plugin_name(stem).parse();
            named.map_err(|error| Failure::usage(format!("{error}; give the plugin another by --name")))?
        }
    };
    let answer = hub.put(&["plugins", name.as_str()], super::read(&args.file)?).await?;
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        eprintln!("warning: plugin {name}: {}", plain(warning));
    }
    let world = text(&answer, "world");
    let words = format!(
        "plugin {name} is at version {}, {}\nnext: CREATE {} name USING plugin.{name} WITH (…) GRANT …; in a file for weir apply",
        text(&answer, "version"),
        text(&answer, "digest").chars().take(12).collect::<String>(),
        world.to_uppercase()
    );
    out.done(&answer, &words)
}

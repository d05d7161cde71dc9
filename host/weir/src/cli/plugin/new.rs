//! `weir plugin new`: a project that builds outside the clone. The SDK and the WIT package come from this program.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{Failure, Output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plugin's name, and the folder that is made for it
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// What the plugin is
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// The language that it is written in
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Kind {
    #[default]
    Sink,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Language {
    #[default]
    Rust,
}

/// The name of a crate, and with `_` for `-` that of a plugin.
fn name(text: &str) -> Result<String, String> {
    let is_lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let valid = text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_lower);
    if valid { Ok(text.to_owned()) } else { Err("use at most 64 of a-z 0-9 - _, beginning with a letter".to_owned()) }
}

macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../../", $path)))),+]
    };
}

/// What a project needs of the clone, by its place there.
const SDK: &[(&str, &str)] = files![
    "guest-sdk/Cargo.toml",
    "guest-sdk/src/bindings.rs",
    "guest-sdk/src/column.rs",
    "guest-sdk/src/http.rs",
    "guest-sdk/src/kv.rs",
    "guest-sdk/src/lib.rs",
    "guest-sdk/src/log.rs",
    "guest-sdk/src/outcome.rs",
    "guest-sdk/src/rows.rs",
    "guest-sdk/src/sink.rs",
    "guest-sdk/src/tcp.rs",
    "guest-sdk/src/testing.rs",
    "guest-sdk/src/time.rs",
    "wit/capabilities.wit",
    "wit/sink.wit",
    "wit/types.wit",
];

/// Where they lie in a project.
const PLACE: &str = ".weir";

const TEMPLATE: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", "target/\n"),
];

pub(super) fn run(args: &Args, out: Output) -> Result<(), Failure> {
    let Args { name, kind: Kind::Sink, lang: Language::Rust } = args;
    let folder = Path::new(name);
    write(folder, name).map_err(|(path, error)| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!("{} is there already", path.display())),
        _ => Failure::refused(format!("cannot write {}: {error}", path.display())),
    })?;
    let plugin = plugin_name(name);
    let words = format!("{name} made\nnext: weir plugin build {name}; weir plugin push {name}/{plugin}.wasm");
    out.done(&json!({ "folder": name, "plugin": plugin }), &words)
}

/// Names of plugins stand in SQL without quotes.
pub(super) fn plugin_name(crate_name: &str) -> String {
    crate_name.replace('-', "_")
}

fn write(folder: &Path, name: &str) -> Result<(), (PathBuf, io::Error)> {
    fs::create_dir(folder).map_err(|error| (folder.to_owned(), error))?;
    let put = |path: PathBuf, content: &str| {
        let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
        parent.and_then(|()| fs::write(&path, content)).map_err(|error| (path, error))
    };
    for (path, content) in TEMPLATE {
        let content = content.replace("{{name}}", name).replace("{{plugin}}", &plugin_name(name));
        put(folder.join(path), &content)?;
    }
    SDK.iter().try_for_each(|(path, content)| put(folder.join(PLACE).join(path), content))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_whole_sdk_comes_along() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let there = ["guest-sdk/src", "wit"].iter().flat_map(|folder| {
            let files = fs::read_dir(root.join(folder)).unwrap();
            files.map(move |file| format!("{folder}/{}", file.unwrap().file_name().display()))
        });
        let there: BTreeSet<String> = there.chain(["guest-sdk/Cargo.toml".to_owned()]).collect();
        assert_eq!(there, SDK.iter().map(|(path, _)| (*path).to_owned()).collect());
    }

    #[test]
    fn names() {
        for valid in ["my-sink", "a", "x_1"] {
            name(valid).unwrap();
        }
        for wrong in ["", "-a", "1a", "A", "a/b", "../a", "é"] {
            name(wrong).unwrap_err();
        }
        assert_eq!(plugin_name("my-sink"), "my_sink");
    }
}

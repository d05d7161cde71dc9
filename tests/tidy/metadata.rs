//! `cargo metadata`, as much of it as the rules need.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    sync::LazyLock,
};

use serde_json::Value;

pub(crate) static METADATA: LazyLock<Metadata> = LazyLock::new(Metadata::read);

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[derive(Debug)]
pub(crate) struct Metadata {
    /// By package id.
    pub(crate) packages: BTreeMap<String, Package>,
    pub(crate) members: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    /// `None` for those of the workspace.
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    /// The version requirements as written, for the members' manifests.
    pub(crate) requirements: Vec<Requirement>,
}

#[derive(Debug)]
pub(crate) struct Dependency {
    /// Package id.
    pub(crate) on: String,
    pub(crate) only_for_tests: bool,
}

#[derive(Debug)]
pub(crate) struct Requirement {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) is_path: bool,
}

impl Metadata {
    fn read() -> Self {
        // Without the platform, cargo wants the sources of other systems' crates, which nobody has downloaded.
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();

        let mut packages: BTreeMap<String, Package> =
            array(&json["packages"]).map(|package| (text(&package["id"]), Package::from_json(package))).collect();
        for node in array(&json["resolve"]["nodes"]) {
            let Some(package) = packages.get_mut(&text(&node["id"])) else { continue };
            package.dependencies = array(&node["deps"])
                .map(|dependency| Dependency {
                    on: text(&dependency["pkg"]),
                    only_for_tests: array(&dependency["dep_kinds"]).all(|kind| kind["kind"] == "dev"),
                })
                .collect();
        }
        Self { packages, members: array(&json["workspace_members"]).map(text).collect() }
    }

    pub(crate) fn workspace(&self) -> impl Iterator<Item = &Package> {
        self.members.iter().filter_map(|id| self.packages.get(id))
    }

    /// Every package that `package` leads to, itself included; its tests' dependencies too if `with_tests`.
    pub(crate) fn reach<'a>(&'a self, package: &'a Package, with_tests: bool) -> Vec<&'a Package> {
        let mut seen = BTreeSet::new();
        let mut found = vec![package];
        let mut next = 0;
        while let Some(current) = found.get(next) {
            // Dependencies that only tests need count for the package itself, not for those it leads to.
            let wanted = current.dependencies.iter().filter(|d| !d.only_for_tests || (with_tests && next == 0));
            let fresh: Vec<_> = wanted.filter(|d| seen.insert(&d.on)).map(|d| &self.packages[&d.on]).collect();
            found.extend(fresh);
            next += 1;
        }
        found
    }
}

impl Package {
    fn from_json(package: &Value) -> Self {
        let requirements = array(&package["dependencies"]).map(|requirement| Requirement {
            name: text(&requirement["name"]),
            version: text(&requirement["req"]),
            is_path: requirement["path"].is_string(),
        });
        Self {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: package["license"].as_str().map(str::to_owned),
            source: package["source"].as_str().map(str::to_owned),
            dependencies: Vec::new(),
            requirements: requirements.collect(),
        }
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

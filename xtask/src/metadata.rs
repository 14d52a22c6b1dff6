//! The workspace as cargo sees it: packages, their dependencies, the resolved graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::machine;

/// What `cargo metadata` says of the workspace, for the platform that it is built on.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
    /// Where cargo puts what it builds.
    pub(crate) target_directory: PathBuf,
}

/// One package, ours or an outside one.
#[derive(Deserialize)]
pub(crate) struct Package {
    id: String,
    /// As in its manifest.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// As declared, of every kind.
    pub(crate) dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

/// One line of a manifest's dependency tables.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    /// The package that is depended upon.
    pub(crate) name: String,
    kind: Option<String>,
    /// Its folder, when it is one of ours.
    pub(crate) path: Option<PathBuf>,
    /// Whether its default features are on.
    pub(crate) uses_default_features: bool,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        let host = host_triple()?;
        let output = machine::cargo()
            .args(["metadata", "--format-version", "1", "--filter-platform", &host])
            .stderr(std::process::Stdio::inherit())
            .output()
            .context("cargo metadata did not start")?;
        if !output.status.success() {
            bail!("cargo metadata failed ({})", output.status);
        }
        serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON that is understood")
    }

    /// The packages of the workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The names of all that `package` reaches by normal dependencies, itself left out.
    pub(crate) fn reached_from(&self, package: &Package) -> BTreeSet<&str> {
        let edges: BTreeMap<&str, &Vec<Edge>> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), &node.deps)).collect();
        let mut seen = BTreeSet::new();
        let mut open = vec![package.id.as_str()];
        while let Some(id) = open.pop() {
            for edge in edges.get(id).into_iter().flat_map(|deps| deps.iter()) {
                if edge.dep_kinds.iter().any(|edge| edge.kind.is_none()) && seen.insert(edge.pkg.as_str()) {
                    open.push(&edge.pkg);
                }
            }
        }
        self.packages
            .iter()
            .filter(|package| seen.contains(package.id.as_str()))
            .map(|package| package.name.as_str())
            .collect()
    }
}

impl Package {
    /// The root file of its library.
    pub(crate) fn library(&self) -> Option<&PathBuf> {
        let is_library = |target: &&Target| target.kind.iter().any(|kind| kind == "lib");
        self.targets.iter().find(is_library).map(|target| &target.src_path)
    }
}

impl Dependency {
    /// Whether it serves tests alone.
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

fn host_triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc did not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

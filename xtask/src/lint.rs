//! `cargo xtask lint`: all that can be said of the code without running it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::cargo_tools::{CargoTool, cargo_with_tools};
use crate::machine::{cargo, cargo_with, root, run as run_command};
use crate::metadata::Workspace;
use crate::report::{Outcome, Report};
use crate::{arrows, purity, sources};

/// A build for development takes half as long, and the check takes seconds all the same.
const CARGO_DENY: CargoTool =
    CargoTool { package: "cargo-deny", version: "0.20.2", build: &["--debug", "--no-default-features"] };

/// The whole task.
pub(crate) fn run() -> Result<()> {
    let mut report = Report::start();
    add_steps(&mut report);
    report.finish()
}

/// The task's steps, for a longer list.
pub(crate) fn add_steps(report: &mut Report) {
    report.step("format", || {
        run_command(cargo().args(["fmt", "--all", "--check"])).context("`cargo fmt` mends it").map(passed)
    });
    report.step("clippy", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run_command(&mut cargo_with(&arguments)).map(passed)
    });
    report.step("arrows", || arrows::check(&Workspace::load()?).map(passed));
    report.step("purity", || purity::check(&Workspace::load()?).map(passed));
    report.step("workspace lints", || every_member_takes_the_lints(&Workspace::load()?).map(passed));
    report.step("reasons for dependencies", || dependencies_have_reasons(&Workspace::load()?).map(passed));
    report.step("unsafe", || sources::check_unsafe().map(passed));
    report.step("nothing left open", || sources::check_left_open().map(passed));
    report.step("long files", || sources::warn_of_long_files().map(passed));
    report.step("cargo-deny", || {
        if let Some(missing) = CARGO_DENY.missing()? {
            return Ok(Outcome::Skipped(missing));
        }
        // Its advisories are a repository elsewhere, which a check that must pass does not depend upon.
        let check = ["deny", "--offline", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
        run_command(cargo_with_tools().args(check)).map(passed)
    });
}

fn passed((): ()) -> Outcome {
    Outcome::Pass
}

/// The comments of deny.toml name each outside crate that a manifest of ours names, and no other.
fn dependencies_have_reasons(workspace: &Workspace) -> Result<()> {
    let list = sources::read(&root().join("deny.toml"))?;
    let lines = list.lines().filter_map(|line| line.strip_prefix("#   "));
    let explained: BTreeSet<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    let declared = workspace.members().flat_map(|package| &package.dependencies);
    let used: BTreeSet<&str> =
        declared.filter(|each| each.path.is_none()).map(|each| each.name.as_str()).collect();
    let complain = |names: Vec<&str>, what: &str| match names.as_slice() {
        [] => Ok(()),
        names => bail!("{what} deny.toml: {}", names.join(", ")),
    };
    complain(used.difference(&explained).copied().collect(), "without a reason in")?;
    complain(explained.difference(&used).copied().collect(), "used nowhere, but explained in")
}

fn every_member_takes_the_lints(workspace: &Workspace) -> Result<()> {
    for package in workspace.members() {
        let manifest = sources::read(&package.manifest_path)?;
        if !manifest.contains("[lints]\nworkspace = true") {
            let path = package.manifest_path.strip_prefix(root()).unwrap_or(&package.manifest_path);
            bail!("{} lacks `[lints] workspace = true`", path.display());
        }
    }
    Ok(())
}

//! Cargo's subcommands that other people publish: found, or installed beside the build.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::machine::{cargo, find_program, in_path, root, run};
use crate::report::in_ci;

/// A subcommand, the version of it that is installed where there is none, and how it is built.
pub(crate) struct CargoTool {
    /// The crate and its program, `cargo-NAME`.
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// Further arguments of `cargo install`.
    pub(crate) build: &'static [&'static str],
}

impl CargoTool {
    /// Makes sure that the subcommand can run; otherwise says what is missing. Installs it in CI alone: elsewhere that is for the
    /// person to decide.
    pub(crate) fn missing(&self) -> Result<Option<String>> {
        let package = self.package;
        if find_program(package).is_some() || folder().join("bin").join(package).is_file() {
            return Ok(None);
        }
        if !in_ci() {
            return Ok(Some(format!("{package} is not installed: `cargo install {package} --locked`")));
        }
        let mut install = cargo();
        install.args(["install", package, "--locked", "--version", self.version]);
        run(install.args(self.build).arg("--root").arg(folder()))?;
        Ok(None)
    }
}

/// A cargo that finds the subcommands installed here behind those of the person.
pub(crate) fn cargo_with_tools() -> Command {
    let mut command = cargo();
    command.env("PATH", in_path(&folder().join("bin")));
    command
}

fn folder() -> PathBuf {
    root().join("target/tools")
}

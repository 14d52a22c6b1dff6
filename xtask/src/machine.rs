//! The machine that the tasks run on: commands, programs found, Debian packages.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::report::in_ci;

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A cargo that runs at the workspace's root.
///
/// The outer cargo's words about the xtask package are kept from it: build scripts look at some of them and
/// would run again for nothing.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// A cargo subcommand; in CI it takes the lock file as it stands.
pub(crate) fn cargo_with(arguments: &[&str]) -> Command {
    let mut command = cargo();
    let (subcommand, rest) =
        arguments.split_first().map_or(("help", arguments), |(first, rest)| (*first, rest));
    command.arg(subcommand);
    if in_ci() {
        command.arg("--locked");
    }
    command.args(rest);
    command
}

/// Runs a command with our own output; an error when it does not end well.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    println!("    {line}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("`{line}` did not start"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Where a program lies, also when the folders of system programs are not searched by default.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The value of `PATH` with this folder in it, behind all others.
pub(crate) fn in_path(folder: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([folder.to_path_buf()]);
    std::env::join_paths(folders).unwrap_or(path.clone())
}

/// A part that a task needs: how it is found, and the Debian package that brings it.
pub(crate) struct Part {
    /// The Debian package.
    pub(crate) package: &'static str,
    /// Whether it is there.
    pub(crate) is_there: fn() -> bool,
}

/// Installs what is missing of `parts` where that is possible (root, on Debian); gives what is still missing.
pub(crate) fn provide(parts: &[Part]) -> Result<Vec<&'static str>> {
    let missing =
        || parts.iter().filter(|part| !(part.is_there)()).map(|part| part.package).collect::<Vec<_>>();
    let wanted = missing();
    if wanted.is_empty() || !is_root() || find_program("apt-get").is_none() {
        return Ok(wanted);
    }
    println!("    installing {}", wanted.join(", "));
    let _quiet = NoServices::begin()?;
    run(apt_get().arg("update"))?;
    run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&wanted))?;
    Ok(missing())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// While it lives, packages that are installed start no services: ours run on addresses of their own, and a
/// machine's own daemon has no part in a test. Debian's policy-rc.d is the way to say so.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours && fs::remove_file(POLICY).is_err() {
            eprintln!("warning: {POLICY} could not be removed");
        }
    }
}

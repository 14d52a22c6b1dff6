//! The crates of control can reach no clock, no socket, no thread and no disk.
//!
//! `#![no_std]` leaves them nothing to name but `core`, `alloc` and what they depend upon; what they depend
//! upon, however deep, stands in a list. Every build of them is therefore the proof.

use anyhow::{Context, Result, bail};

use crate::metadata::{Package, Workspace};
use crate::sources;

/// The machines and codecs that run alike in production and in the simulator.
const PURE: &[&str] = &[
    "quelea-time",
    "quelea-bencode",
    "quelea-metainfo",
    "quelea-wire",
    "quelea-tracker",
    "quelea-discovery",
    "quelea-dht",
    "quelea-swarm",
];

/// What pure crates may reach of ours beside each other: hashes, which compute and do nothing else.
const COMPUTING: &[&str] = &["quelea-digest"];

/// Outside crates that pure crates may reach: each computes, and does nothing else.
const HARMLESS: &[&str] = &[
    // Error enums; the rest of the group runs in the compiler alone.
    "thiserror",
    "thiserror-impl",
    "proc-macro2",
    "quote",
    "syn",
    "unicode-ident",
    // Random numbers from a seed; its default features, which know a seed of their own, stay off.
    "fastrand",
    // Scalar hashes and what they stand on.
    "sha1",
    "sha2",
    "digest",
    "block-buffer",
    "crypto-common",
    "hybrid-array",
    "typenum",
    "cfg-if",
    "cpufeatures",
    // Ed25519 signatures of DHT items; its default features, which draw random numbers, stay off.
    "ed25519-compact",
    // Tables of Unicode, by which names that a file system would confuse are found.
    "unicode-normalization",
    "tinyvec",
    // Tables of encodings, by which names that are not UTF-8 are read.
    "encoding_rs",
];

/// Every pure crate says `no_std`, forbids `unsafe`, and reaches only what computes.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut faults = Vec::new();
    for &name in PURE {
        let package = workspace.members().find(|package| package.name == name);
        let package = package.with_context(|| format!("{name} is not in the workspace"))?;
        faults.extend(faults_of_library(package)?);
        faults.extend(faults_of_features(package));
        let reached = workspace.reached_from(package);
        let strange = reached.into_iter().filter(|name| !may_reach(name));
        faults.extend(strange.map(|other| format!("{name} reaches {other}")));
    }
    if !faults.is_empty() {
        bail!("{}\n(what pure crates may reach stands in xtask/src/purity.rs)", faults.join("\n"));
    }
    println!("{} crates are no_std and reach nothing that acts; having compiled is their proof", PURE.len());
    Ok(())
}

fn may_reach(name: &str) -> bool {
    PURE.contains(&name) || COMPUTING.contains(&name) || HARMLESS.contains(&name)
}

fn faults_of_library(package: &Package) -> Result<Vec<String>> {
    let library = package.library().with_context(|| format!("{} has no library", package.name))?;
    let text = sources::read(library)?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut faults = Vec::new();
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        if !lines.contains(&attribute) {
            faults.push(format!("{} lacks {attribute}", library.display()));
        }
    }
    for (at, line) in lines.iter().enumerate() {
        let for_tests = at.checked_sub(1).and_then(|above| lines.get(above)) == Some(&"#[cfg(test)]");
        if line.contains("extern crate std") && !for_tests {
            faults.push(format!("{}:{} names std outside tests", library.display(), at + 1));
        }
    }
    Ok(faults)
}

/// Default features are where `std` hides.
fn faults_of_features(package: &Package) -> impl Iterator<Item = String> {
    let outside = package.dependencies.iter().filter(|each| each.path.is_none() && !each.is_dev());
    outside
        .filter(|each| each.uses_default_features)
        .map(|each| format!("{} takes {} with its default features", package.name, each.name))
}

#[cfg(test)]
mod tests {
    use super::may_reach;

    #[test]
    fn what_acts_is_not_harmless() {
        for name in
            ["tokio", "mio", "socket2", "rustix", "libc", "reqwest", "getrandom", "quelea-net", "quelea"]
        {
            assert!(!may_reach(name), "{name}");
        }
    }
}

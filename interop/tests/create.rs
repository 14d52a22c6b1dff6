//! Torrents that Quelea makes have the info-hashes that libtorrent gives to the same files.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use quelea_interop::libtorrent::{self, PYTHON, script};
use quelea_interop::payload::{Layout, Payload};
use quelea_interop::scratch::Scratch;
use quelea_interop::{programs, quelea};
use serde_json::Value;

/// Quelea, and a folder to work in; nothing where something is missing.
struct Bench {
    program: PathBuf,
    scratch: Scratch,
}

impl Bench {
    fn open() -> Result<Option<Self>> {
        let program = quelea::program();
        let missing = [("python3-libtorrent", !libtorrent::is_installed()), ("quelea", program.is_none())];
        let missing: Vec<&str> = missing.iter().filter(|(_, gone)| *gone).map(|(name, _)| *name).collect();
        let may_run = programs::may_run(&missing)?;
        let Some(program) = program.filter(|_| may_run) else { return Ok(None) };
        Ok(Some(Self { program, scratch: Scratch::new()? }))
    }

    /// What a command prints on standard output; an error when it fails.
    fn run(&self, command: &mut Command) -> Result<String> {
        let output = command.output().with_context(|| format!("{command:?} did not start"))?;
        if !output.status.success() {
            bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn quelea(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("SOURCE_DATE_EPOCH");
        command
    }

    /// Creates a torrent of `source`, compares its info-hash with libtorrent's, and verifies it.
    fn compare(&self, source: &Path, options: &[&str]) -> Result<()> {
        let torrent = self.scratch.file("made.torrent");
        let mut create = self.quelea();
        create.arg("create").arg(source).arg("-o").arg(&torrent).args(options);
        let link = self.run(create.args(["--force", "--quiet"]))?;
        let shown = self.run(self.quelea().args(["show", "--json"]).arg(&torrent))?;
        let shown: Value = serde_json::from_str(&shown)?;
        let ours = shown["info_hash_v1"].as_str().context("no info-hash")?;
        ensure!(link.starts_with(&format!("magnet:?xt=urn:btih:{ours}&dn=")), "another link: {link}");

        let mut theirs = Command::new(PYTHON);
        theirs.arg(script("info_hash.py")).arg(source).arg(shown["piece_length"].to_string());
        theirs.arg(if options.contains(&"--private") { "private" } else { "public" });
        let theirs = self.run(&mut theirs)?;
        ensure!(ours == theirs.trim(), "{}: {ours} but libtorrent says {theirs}", source.display());

        let folder = source.parent().context("a payload has a folder")?;
        self.run(self.quelea().arg("verify").arg(&torrent).arg("-o").arg(folder)).map(drop)
    }
}

fn compare(layout: Layout) -> Result<()> {
    let Some(bench) = Bench::open()? else { return Ok(()) };
    let folder = bench.scratch.folder("payload")?;
    Payload::write(layout, 11, &folder)?;
    let source = folder.join(layout.name());
    bench.compare(&source, &[])?;
    bench.compare(&source, &["--piece-length", "16K", "--private"])?;
    bench.compare(&source, &["--piece-length", "4M"])
}

#[test]
fn a_single_file_has_the_info_hash_of_libtorrent() -> Result<()> {
    compare(Layout::Single)
}

#[test]
fn five_thousand_files_have_the_info_hash_of_libtorrent() -> Result<()> {
    compare(Layout::Many)
}

#[test]
fn nested_files_of_odd_lengths_have_the_info_hash_of_libtorrent() -> Result<()> {
    compare(Layout::Padded)
}

#[test]
fn payloads_of_the_corpus_have_the_info_hash_of_libtorrent() -> Result<()> {
    let Some(bench) = Bench::open()? else { return Ok(()) };
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus"));
    if !corpus.is_dir() {
        programs::may_run(&["the corpus"])?;
        return Ok(());
    }
    let manifest = std::fs::read_to_string(corpus.join("manifest.json"))?;
    let mut compared = 0;
    for line in manifest.lines().filter(|line| line.contains("\"kind\": \"payload\"")) {
        let entry: Value = serde_json::from_str(line.trim().trim_end_matches(','))?;
        let file = corpus.join(entry["file"].as_str().context("a payload has a file")?).canonicalize()?;
        if file.metadata()?.len() > 0 {
            bench.compare(&file, &[])?;
            compared += 1;
        }
    }
    ensure!(compared >= 10, "only {compared} payloads in the corpus");
    Ok(())
}

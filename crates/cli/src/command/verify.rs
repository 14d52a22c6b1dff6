//! `quelea verify`: which pieces and files of a torrent are good.

use crate::args::VerifyArgs;
use crate::display;
use crate::exit::Status;
use crate::hashing::Hashing;
use crate::metadata;
use crate::source::{self, Found};
use quelea::verify::{FileState, Verified, VerifiedFile, verify};
use quelea::{NameStyle, content_path};
use quelea_metainfo::{Info, Metainfo};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// Files that are listed unless all are asked for. Of more only those that are not good.
const FILES: usize = 200;

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<Status> {
    let Metainfo { info, .. } = load(args)?;
    let info = Arc::new(info);
    let mut hashing = Hashing::new(&info.name, args.quiet || args.json);
    let verified = verify(&info, &args.output_dir, |progress| hashing.show(progress));
    let hashed = hashing.finish();
    let Some(verified) = verified.map_err(refused)? else { return Ok(Status::Interrupted) };
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&report(&info, &verified))?;
        text.push('\n');
        text
    } else if args.quiet {
        String::new()
    } else {
        table(&info, &args.output_dir, &verified, &hashed, args.all)
    };
    super::print(text.as_bytes())?;
    if let Some(trouble) = &verified.trouble {
        return Err(Status::Disk.because(display::clean(&trouble.to_string())));
    }
    Ok(if verified.is_complete() { Status::Done } else { Status::Incomplete })
}

fn load(args: &VerifyArgs) -> anyhow::Result<Metainfo> {
    match source::load_alone(&args.source, &args.web.access(&args.discovery.bind)?)? {
        Found::Torrent(metainfo) => Ok(*metainfo),
        link @ (Found::Magnet(_) | Found::Publisher(_)) => metadata::fetch(link, &args.discovery, args.quiet),
    }
}

fn refused(error: quelea::Error) -> anyhow::Error {
    if let quelea::Error::Unsupported(_) = error {
        Status::Refused.because("cannot verify this torrent: it is a pure v2 torrent (BEP 52)")
    } else {
        error.into()
    }
}

/// One word for programs and people alike.
fn word(state: &FileState) -> &'static str {
    match state {
        FileState::Good => "good",
        FileState::Missing => "missing",
        FileState::Short { .. } => "short",
        FileState::Long { .. } => "long",
        FileState::Damaged => "damaged",
        FileState::Unproven => "unproven",
        FileState::NotAFile => "not-a-file",
        FileState::Unreadable(_) => "unreadable",
        FileState::LeadsElsewhere(_) => "leads-elsewhere",
        FileState::NotALink => "not-a-link",
        _ => "other",
    }
}

/// What a person would want to know beside the word.
fn detail(file: &VerifiedFile) -> String {
    match &file.state {
        FileState::Short { found } | FileState::Long { found } => format!("{found} bytes are there"),
        FileState::Damaged => {
            let bad = file.pieces - file.good_pieces;
            format!("{bad} of {} bad", display::count(file.pieces as usize, "piece", "pieces"))
        }
        FileState::Unproven => "a piece it shares with another file is bad".to_owned(),
        FileState::NotAFile => "a folder or a device has its place".to_owned(),
        FileState::NotALink => "something else has the place of the link".to_owned(),
        FileState::LeadsElsewhere(found) => {
            format!("the link leads to {}", display::clean(&found.to_string_lossy()))
        }
        FileState::Unreadable(why) => display::plain(&display::clean(why)),
        FileState::Good | FileState::Missing | _ => String::new(),
    }
}

/// The summary and the files with their numbers, as `show` has them.
fn table(info: &Info, dir: &Path, verified: &Verified, hashed: &str, all: bool) -> String {
    let good = verified.pieces.iter().filter(|good| **good).count();
    let pieces = display::count(verified.pieces.len(), "piece", "pieces");
    let place = content_path(info, dir, NameStyle::Portable);
    let place = display::clean(&place.strip_prefix(".").unwrap_or(&place).to_string_lossy());
    let good_files = verified.files.iter().filter(|file| file.state == FileState::Good).count();
    let files = display::count(verified.files.len(), "file", "files");
    let mut text = format!("{place}: {good} of {pieces} and {good_files} of {files} are good ({hashed})\n");
    let short = !all && verified.files.len() > FILES;
    let mut numbers = Vec::with_capacity(info.files.len());
    for file in &info.files {
        numbers.push(numbers.last().copied().unwrap_or(0) + usize::from(!file.pad));
    }
    let number = |file: &VerifiedFile| numbers.get(file.number).copied().unwrap_or(0);
    let numbered = verified.files.iter().map(|file| (file, number(file)));
    let listed: Vec<(&VerifiedFile, usize)> =
        numbered.filter(|(file, _)| !short || file.state != FileState::Good).collect();
    let limit = if short { FILES } else { usize::MAX };
    let width = numbers.last().copied().unwrap_or(0).to_string().len().max(3);
    for (file, number) in listed.iter().take(limit) {
        let Some(meant) = info.files.get(file.number) else { continue };
        let (size, word) = (display::bytes(meant.length), word(&file.state));
        let path = display::clean(&file.path.to_string_lossy());
        let detail = Some(detail(file)).filter(|detail| !detail.is_empty());
        let detail = detail.map(|detail| format!("  ({detail})")).unwrap_or_default();
        let _ = writeln!(text, "{number:>width$}  {size:>8}  {word:<10}  {path}{detail}");
    }
    if listed.len() > limit {
        let _ = writeln!(text, "and {} more that are not good: see --all", listed.len() - limit);
    } else if short {
        let _ = writeln!(text, "good files are not listed: see --all");
    }
    text
}

#[derive(Serialize)]
struct ReportJson<'a> {
    info_hash_v1: Option<String>,
    name: &'a str,
    complete: bool,
    piece_length: u32,
    pieces: usize,
    pieces_good: usize,
    /// Runs of bad pieces, first and last, from 0.
    bad_pieces: Vec<[usize; 2]>,
    files: Vec<FileJson<'a>>,
    /// Why some pieces could not be read.
    trouble: Option<String>,
}

#[derive(Serialize)]
struct FileJson<'a> {
    path: &'a str,
    /// Its path on the disk, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    found_path: Option<String>,
    length: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    found_length: Option<u64>,
    pieces: u32,
    pieces_good: u32,
}

fn report<'a>(info: &'a Info, verified: &Verified) -> ReportJson<'a> {
    let files = verified.files.iter().filter_map(|file| {
        let meant = info.files.get(file.number)?;
        Some(FileJson {
            path: meant.path.as_str(),
            found_path: Some(file.path.to_string_lossy().into_owned())
                .filter(|found| found != meant.path.as_str()),
            length: meant.length,
            state: word(&file.state),
            found_length: found_length(&file.state),
            pieces: file.pieces,
            pieces_good: file.good_pieces,
        })
    });
    ReportJson {
        info_hash_v1: info.hashes.v1_hex(),
        name: &info.name,
        complete: verified.is_complete(),
        piece_length: info.geometry.piece_length(),
        pieces: verified.pieces.len(),
        pieces_good: verified.pieces.iter().filter(|good| **good).count(),
        bad_pieces: bad_runs(&verified.pieces),
        files: files.collect(),
        trouble: verified.trouble.as_ref().map(|trouble| display::clean(&trouble.to_string())),
    }
}

/// The length of a file that should have another.
fn found_length(state: &FileState) -> Option<u64> {
    if let FileState::Short { found } | FileState::Long { found } = state { Some(*found) } else { None }
}

fn bad_runs(pieces: &[bool]) -> Vec<[usize; 2]> {
    let mut runs: Vec<[usize; 2]> = Vec::new();
    for (piece, _) in pieces.iter().enumerate().filter(|(_, good)| !**good) {
        match runs.last_mut() {
            Some([_, last]) if *last + 1 == piece => *last = piece,
            Some(_) | None => runs.push([piece, piece]),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_pieces_are_told_in_runs() {
        assert_eq!(bad_runs(&[true, false, false, true, false]), [[1, 2], [4, 4]]);
        assert_eq!(bad_runs(&[false; 3]), [[0, 2]]);
        assert_eq!(bad_runs(&[true]), [[0; 2]; 0]);
    }
}

//! `quelea list`: the torrents that the state knows.

use crate::args::ListArgs;
use crate::display;
use crate::exit::Status;
use crate::known::links::KnownLink;
use crate::known::{Known, Progress, States, hex};
use crate::state;
use quelea::remembered::Remembered;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

#[derive(Serialize)]
struct Line<'a> {
    info_hash: String,
    /// Null where the torrent itself is not known.
    name: Option<&'a str>,
    directory: String,
    /// The magnet link, as long as its metadata is awaited; else null.
    link: Option<&'a str>,
    complete: Option<bool>,
    wanted_length: Option<u64>,
    wanted_have: Option<u64>,
    pieces: Option<u32>,
    pieces_have: u32,
    downloaded: u64,
    uploaded: u64,
}

pub(crate) fn run(args: &ListArgs) -> anyhow::Result<Status> {
    let Some(directory) = state::directory(args.place.state_dir.as_deref()) else {
        return Err(Status::Usage.because("nothing is remembered: --state-dir is none"));
    };
    let (known, states) = (Known::all(&directory), States::read(&directory)?);
    let links = KnownLink::awaited(&directory, &known);
    let mut lines = Vec::new();
    for torrent in &known {
        let remembered = states.of(torrent);
        let progress = torrent.metainfo().ok().map(|metainfo| torrent.progress(&metainfo.info, remembered));
        lines.push(line(&torrent.hash, Some(torrent.name()), torrent.directory(), progress, remembered));
    }
    for link in &links {
        let line = line(&link.hash, Some(link.name()), link.directory(), None, None);
        lines.push(Line { link: Some(link.link()), ..line });
    }
    for remembered in states.without(&known) {
        lines.push(line(&hex(&remembered.info_hash), None, &remembered.directory, None, Some(remembered)));
    }
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&lines)?;
        text.push('\n');
        text
    } else {
        table(&lines)
    };
    super::print(text.as_bytes())
}

fn line<'a>(
    hash: &str,
    name: Option<&'a str>,
    directory: &Path,
    progress: Option<Progress>,
    remembered: Option<&Remembered>,
) -> Line<'a> {
    let counted = || remembered.map_or(0, |known| known.have.iter().map(|byte| byte.count_ones()).sum());
    Line {
        info_hash: hash.to_owned(),
        name,
        directory: directory.to_string_lossy().into_owned(),
        link: None,
        complete: progress.map(|progress| progress.is_complete()),
        wanted_length: progress.map(|progress| progress.wanted),
        wanted_have: progress.map(|progress| progress.have),
        pieces: progress.map(|progress| progress.pieces),
        pieces_have: progress.map_or_else(counted, |progress| progress.pieces_have),
        downloaded: remembered.map_or(0, |known| known.downloaded),
        uploaded: remembered.map_or(0, |known| known.uploaded),
    }
}

/// A line for each: progress, size, hash, and where it is.
fn table(lines: &[Line<'_>]) -> String {
    let mut text = String::new();
    for line in lines {
        let (percent, size) = match (line.wanted_have, line.wanted_length) {
            (Some(have), Some(wanted)) => (display::percent(have, wanted), display::bytes(wanted)),
            (_, _) => ("?".to_owned(), "?".to_owned()),
        };
        let place = Path::new(&line.directory).join(line.name.unwrap_or("(name unknown)"));
        let place = display::clean(&place.to_string_lossy());
        let awaited = if line.link.is_some() { "  (its metadata is awaited)" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{percent:>6}  {size:>10}  {}  {place}{awaited}", line.info_hash);
    }
    text
}

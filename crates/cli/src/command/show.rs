//! `quelea show`: what a torrent file or magnet link says, for a person or as JSON.

use crate::args::ShowArgs;
use crate::display;
use crate::exit::Status;
use crate::metadata;
use crate::report;
use crate::source::{self, Found, MagnetLink};
use quelea::NameStyle;
use quelea_metainfo::{File, Info, Link, Magnet, Metainfo, NativePath, Version};
use serde::Serialize;
use std::fmt::Write;

/// Files that are listed unless all are asked for.
const FILES: usize = 200;
/// Lines that trackers and web seeds take, at most.
const ADDRESSES: usize = 20;

pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<Status> {
    match source::load_alone(&args.source, &args.web.access(&args.discovery.bind)?)? {
        Found::Torrent(metainfo) => print(args, &metainfo),
        link if args.fetch => print(args, &metadata::fetch(link, &args.discovery, false)?),
        Found::Magnet(MagnetLink { magnet, remarks }) => {
            remarks.iter().for_each(|remark| report::warning(remark));
            let text = if args.json { json(&MagnetJson::from(&magnet))? } else { magnet_summary(&magnet) };
            super::print(text.as_bytes())
        }
        Found::Publisher(_) => Err(Status::Refused
            .because("which torrent this publisher's link leads to, the DHT says: ask it with --fetch")),
    }
}

fn print(args: &ShowArgs, metainfo: &Metainfo) -> anyhow::Result<Status> {
    let text = if args.json {
        json(&TorrentJson::from(metainfo))?
    } else {
        summary(metainfo, if args.all { usize::MAX } else { FILES }, args.names)
    };
    super::print(text.as_bytes())
}

/// The files of a torrent with their numbers, at most `limit`.
pub(crate) fn files(info: &Info, limit: usize) -> String {
    let mut text = String::new();
    let files: Vec<&File> = info.files.iter().filter(|file| !file.pad).collect();
    list(&mut text, &files, limit, NameStyle::Portable);
    text
}

fn json(value: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct TorrentJson<'a> {
    info_hash_v1: Option<String>,
    info_hash_v2: Option<String>,
    name: &'a str,
    piece_length: u32,
    /// Without pad files.
    total_length: u64,
    private: bool,
    trackers: &'a [Vec<String>],
    web_seeds: &'a [String],
    comment: Option<&'a str>,
    created_by: Option<&'a str>,
    /// Seconds since 1970.
    creation_date: Option<i64>,
    files: Vec<FileJson<'a>>,
}

#[derive(Serialize)]
struct FileJson<'a> {
    path: &'a str,
    /// With the author's own names, where those are others; what is not UTF-8 is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    native_path: Option<String>,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    symlink: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    executable: bool,
}

impl<'a> From<&'a Metainfo> for TorrentJson<'a> {
    fn from(metainfo: &'a Metainfo) -> Self {
        let info = &metainfo.info;
        let file = |file: &'a File| FileJson {
            path: file.path.as_str(),
            native_path: file.native.as_ref().map(native),
            length: file.length,
            executable: file.executable,
            symlink: match &file.link {
                Some(Link::To(target)) => Some(target.as_str()),
                Some(Link::Nowhere) | None => None,
            },
        };
        Self {
            info_hash_v1: info.hashes.v1_hex(),
            info_hash_v2: info.hashes.v2_hex(),
            name: &info.name,
            piece_length: info.geometry.piece_length(),
            total_length: info.content_length(),
            private: info.private,
            trackers: &metainfo.trackers,
            web_seeds: &metainfo.web_seeds,
            comment: metainfo.comment.as_deref(),
            created_by: metainfo.created_by.as_deref(),
            creation_date: metainfo.creation_date,
            files: info.files.iter().filter(|file| !file.pad).map(file).collect(),
        }
    }
}

#[derive(Serialize)]
struct MagnetJson<'a> {
    info_hash_v1: Option<String>,
    info_hash_v2: Option<String>,
    name: Option<&'a str>,
    trackers: &'a [String],
    web_seeds: &'a [String],
    peers: Vec<String>,
    /// Numbers of files from 0, as the link has them; null where it does not say.
    select_only: Option<Vec<u32>>,
}

impl<'a> From<&'a Magnet> for MagnetJson<'a> {
    fn from(magnet: &'a Magnet) -> Self {
        Self {
            info_hash_v1: magnet.hashes.v1_hex(),
            info_hash_v2: magnet.hashes.v2_hex(),
            name: magnet.name.as_deref(),
            trackers: &magnet.trackers,
            web_seeds: &magnet.web_seeds,
            peers: magnet.peers.iter().map(ToString::to_string).collect(),
            select_only: magnet.select_only.as_ref().map(|numbers| numbers.iter().collect()),
        }
    }
}

/// `  label        value` lines; a label that repeats is left blank, and what is foreign is cleaned.
struct Table {
    text: String,
    label: &'static str,
}

impl Table {
    fn new(title: &str) -> Self {
        Self { text: format!("{}\n", display::clean(title)), label: "" }
    }

    fn row(&mut self, label: &'static str, value: &str) {
        let shown = if label == self.label { "" } else { label };
        self.label = label;
        let _ = writeln!(self.text, "  {shown:<12}{}", display::clean(value));
    }

    fn rows<'a>(&mut self, label: &'static str, values: impl ExactSizeIterator<Item = &'a String>) {
        let more = values.len().saturating_sub(ADDRESSES);
        values.take(ADDRESSES).for_each(|value| self.row(label, value));
        if more > 0 {
            self.row(label, &format!("and {more} more"));
        }
    }
}

fn magnet_summary(magnet: &Magnet) -> String {
    let mut table = Table::new(magnet.name.as_deref().unwrap_or("a magnet link without a name"));
    hashes(&mut table, magnet.hashes.v1_hex(), magnet.hashes.v2_hex());
    if let Some(selection) = &magnet.select_only {
        let range = |range: std::ops::RangeInclusive<u32>| match (range.start(), range.end()) {
            (first, last) if first == last => (first + 1).to_string(),
            (first, last) => format!("{}-{}", first + 1, last + 1),
        };
        let ranges: Vec<String> = selection.ranges().take(ADDRESSES).map(range).collect();
        table.row("files", &ranges.join(","));
    }
    table.rows("trackers", magnet.trackers.iter());
    table.rows("web seeds", magnet.web_seeds.iter());
    let peers: Vec<String> = magnet.peers.iter().map(ToString::to_string).collect();
    table.rows("peers", peers.iter());
    table.text
}

fn hashes(table: &mut Table, v1: Option<String>, v2: Option<String>) {
    for (hash, version) in [(v1, "v1"), (v2, "v2")] {
        if let Some(hash) = hash {
            table.row("info hash", &format!("{hash} ({version})"));
        }
    }
}

/// All that a person may want to know, with at most `limit` files.
fn summary(metainfo: &Metainfo, limit: usize, names: NameStyle) -> String {
    let info = &metainfo.info;
    let files: Vec<&File> = info.files.iter().filter(|file| !file.pad).collect();
    let mut table = Table::new(&info.name);
    let size = display::bytes(info.content_length());
    table.row("size", &format!("{size} in {}", display::count(files.len(), "file", "files")));
    let piece_length = display::bytes(info.geometry.piece_length().into());
    table.row("pieces", &format!("{} of {piece_length}", info.geometry.pieces()));
    hashes(&mut table, info.hashes.v1_hex(), info.hashes.v2_hex());
    match info.version {
        Version::V1 => {}
        Version::Hybrid => table.row("version", "v1 and v2 (hybrid)"),
        Version::V2 => table.row("version", "v2 only, which this version of quelea cannot download"),
    }
    if info.private {
        table.row("private", "yes: peers come from its trackers alone");
    }
    if let Some(date) = metainfo.creation_date {
        table.row("created", &display::date(date));
    }
    if let Some(program) = &metainfo.created_by {
        table.row("created by", program);
    }
    if let Some(comment) = metainfo.comment.as_deref().filter(|comment| !comment.is_empty()) {
        table.row("comment", &display::cut(&display::clean(comment), 300));
    }
    table.rows("trackers", metainfo.trackers.concat().iter());
    table.rows("web seeds", metainfo.web_seeds.iter());
    let cleaned = files.iter().filter(|file| file.native.is_some()).count();
    if cleaned > 0 && names == NameStyle::Portable {
        let files = display::count(cleaned, "name is", "names are");
        table.row("names", &format!("{files} not the author's own, which --names native keeps"));
    }
    table.text.push('\n');
    list(&mut table.text, &files, limit, names);
    table.text
}

fn native(path: &NativePath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

/// The files with their numbers and sizes as a tree, in the torrent's order.
fn list(text: &mut String, files: &[&File], limit: usize, names: NameStyle) {
    let width = files.len().min(limit).to_string().len().max(3);
    let blank = width + 2 + 8;
    let mut open: Vec<String> = Vec::new();
    for (index, file) in files.iter().enumerate().take(limit) {
        let mut folders: Vec<String> = match &file.native {
            Some(path) if names == NameStyle::Native => {
                path.elements().map(|name| display::clean(&String::from_utf8_lossy(name))).collect()
            }
            Some(_) | None => file.path.elements().map(str::to_owned).collect(),
        };
        let name = folders.pop().unwrap_or_default();
        let shared = open.iter().zip(&folders).take_while(|(open, folder)| open == folder).count();
        for (depth, folder) in folders.iter().enumerate().skip(shared) {
            let _ = writeln!(text, "{:blank$}  {:indent$}{folder}/", "", "", indent = depth * 2);
        }
        let size = display::bytes(file.length);
        let indent = folders.len() * 2;
        let _ = write!(text, "{:>width$}  {size:>8}  {:indent$}{name}", index + 1, "");
        match &file.link {
            Some(Link::To(target)) => text.push_str(&format!(" -> {target}")),
            Some(Link::Nowhere) => text.push_str(" -> (a link to nowhere, not made)"),
            None if file.executable => text.push_str(" (executable)"),
            None => {}
        }
        text.push('\n');
        open = folders;
    }
    if files.len() > limit {
        let _ = writeln!(text, "{:blank$}  and {} more: see --all", "", files.len() - limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A torrent of these files, 10 bytes each.
    fn torrent(paths: &[&str]) -> Metainfo {
        let mut files = String::new();
        for path in paths {
            let elements: String = path.split('/').map(|name| format!("{}:{name}", name.len())).collect();
            files.push_str(&format!("d6:lengthi10e4:pathl{elements}ee"));
        }
        let pieces = (paths.len() * 10).div_ceil(16_384) * 20;
        let hashes = "x".repeat(pieces);
        let bytes = format!(
            "d8:announce17:http://t.example/4:infod5:filesl{files}e4:name4:root12:piece lengthi16384e6:pieces{pieces}:{hashes}ee"
        );
        Metainfo::parse(bytes.as_bytes()).unwrap()
    }

    #[test]
    fn files_are_numbered_within_their_folders() {
        let text = summary(&torrent(&["a", "b/c", "b/d/e", "f"]), 10, NameStyle::Portable);
        let (_, tree) = text.split_once("\n\n").unwrap();
        assert_eq!(
            tree,
            "               root/\n\
             \x20 1      10 B    a\n\
             \x20                b/\n\
             \x20 2      10 B      c\n\
             \x20                  d/\n\
             \x20 3      10 B        e\n\
             \x20 4      10 B    f\n"
        );
    }

    #[test]
    fn names_are_shown_as_they_would_be_written() {
        let torrent = torrent(&["Vol. 1./a?", "b"]);
        let portable = summary(&torrent, 10, NameStyle::Portable);
        assert!(portable.contains("  Vol. 1/\n") && portable.contains("a_\n"), "{portable}");
        assert!(
            portable.contains("1 name is not the author's own, which --names native keeps"),
            "{portable}"
        );
        let native = summary(&torrent, 10, NameStyle::Native);
        assert!(native.contains("  Vol. 1./\n") && native.contains("a?\n"), "{native}");
        assert!(!native.contains("--names"), "{native}");
        assert!(json(&TorrentJson::from(&torrent)).unwrap().contains("\"native_path\": \"root/Vol. 1./a?\""));
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let names: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        let paths: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = summary(&torrent(&paths), 10, NameStyle::Portable);
        assert!(text.ends_with("and 20 more: see --all\n"), "{text}");
        assert!(!summary(&torrent(&paths), usize::MAX, NameStyle::Portable).contains("more"));
    }

    #[test]
    fn a_magnet_link_is_shown_with_file_numbers_from_one() {
        let link =
            "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567&dn=x&so=0,2-4&tr=udp://t.example:1";
        assert_eq!(
            magnet_summary(&Magnet::parse(link).unwrap()),
            "x\n  info hash   0123456789abcdef0123456789abcdef01234567 (v1)\n  files       1,3-5\n  trackers    udp://t.example:1\n"
        );
    }
}

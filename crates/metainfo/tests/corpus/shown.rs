//! What a listing of files shows, and what is wrong with it: the checker's rules for paths.

use crate::manifest::checks;
use quelea_digest::sha256;
use quelea_metainfo::{Link, Metainfo, to_hex};
use serde_json::Value as Json;
use std::collections::BTreeSet;

type Listed<'a> = Vec<(&'a str, u64)>;

fn digest(files: &Listed<'_>, with_paths: bool) -> String {
    let mut text = Vec::new();
    for (path, length) in files {
        if with_paths {
            text.extend(path.as_bytes());
            text.push(0);
        }
        text.extend(format!("{length}\n").as_bytes());
    }
    to_hex(&sha256(&text))
}

/// What differs between the files and the manifest's, with or without the torrent's own folder.
pub(crate) fn files_fault(entry: &Json, torrent: &Metainfo) -> Option<String> {
    let fields = &entry["fields"];
    let real = torrent.info.files.iter().filter(|file| !file.pad);
    let whole: Listed<'_> = real.map(|file| (file.path.as_str(), file.length)).collect();
    let root = format!("{}/", torrent.info.name);
    let below: Option<Listed<'_>> =
        whole.iter().map(|(path, length)| Some((path.strip_prefix(&root)?, *length))).collect();
    let files = below.unwrap_or(whole);
    if files.len() as u64 != fields["num_files"].as_u64().unwrap() {
        return Some(format!("{} files", files.len()));
    }
    if digest(&files, false) != fields["lengths_sha256"] {
        return Some("lengths differ".into());
    }
    if fields["compare_paths"] == true && digest(&files, true) != fields["files_sha256"] {
        return Some(format!("paths differ: {:?}", files.iter().take(40).collect::<Vec<_>>()));
    }
    None
}

/// Why a path is unsafe on some system.
fn hazard(path: &str) -> Option<&'static str> {
    const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    if path.is_empty() || path.starts_with('/') || path.contains(['\0', '\\']) {
        return Some("is empty, absolute or has a NUL or a backslash");
    }
    for element in path.split('/') {
        if element.is_empty() || element == "." || element == ".." {
            return Some("has an element that is none");
        }
        if element.len() > 255 {
            return Some("has an element of over 255 bytes");
        }
        if element.trim_end_matches(['.', ' ']) != element {
            return Some("has an element that ends in a dot or a space");
        }
        let stem = element.split('.').next().unwrap_or_default().trim_end_matches(' ').to_lowercase();
        let port = stem.strip_prefix("com").or(stem.strip_prefix("lpt"));
        if RESERVED.contains(&stem.as_str())
            || port.is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit())
        {
            return Some("has a reserved name");
        }
        if element.contains(|c: char| c.is_control() || "<>:\"|?*".contains(c)) {
            return Some("has a character that Windows refuses");
        }
    }
    None
}

/// Whatever is unsafe about the names, paths and links of an accepted torrent.
pub(crate) fn safety_faults(torrent: &Metainfo) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check =
        |what: &str, path: &str| faults.extend(hazard(path).map(|why| format!("{what} {path:?} {why}")));
    check("name", &torrent.info.name);
    for file in &torrent.info.files {
        check("path", file.path.as_str());
        if let Some(Link::To(target)) = &file.link {
            check("target", target.as_str());
        }
    }
    if torrent.info.name.contains('/') {
        faults.push("the name has a separator".into());
    }
    let real: Vec<&str> =
        torrent.info.files.iter().filter(|file| !file.pad).map(|file| file.path.as_str()).collect();
    let folded: Vec<String> = real.iter().map(|path| path.to_lowercase()).collect();
    let all: BTreeSet<&str> = folded.iter().map(String::as_str).collect();
    if all.len() != real.len() {
        faults.push("two files share a path".into());
    }
    for path in &folded {
        let folder = path.match_indices('/').map(|(at, _)| &path[..at]).find(|folder| all.contains(folder));
        faults.extend(folder.map(|folder| format!("{folder:?} is both a file and a folder")));
    }
    faults
}

/// What differs in the names of a torrent.
pub(crate) fn name_fault(entry: &Json, name: &str) -> Option<String> {
    let fields = &entry["fields"];
    let others = fields["name_alternatives"].as_array().map(Vec::as_slice).unwrap_or_default();
    let known = fields["name"] == name || others.iter().any(|other| other == name);
    (checks(entry, "name") && !known).then(|| format!("name {name:?}"))
}

//! Every torrent of the corpus.

use crate::manifest::{checks, entries, must_accept};
use crate::shown::{files_fault, name_fault, safety_faults};
use crate::urls;
use quelea_bencode::{Limits, parse_prefix};
use quelea_digest::{merkle, sha1};
use quelea_metainfo::{Address, Info, Magnet, Metainfo};
use serde_json::Value as Json;
use std::sync::LazyLock;

static ENTRIES: LazyLock<Vec<(Json, Vec<u8>)>> = LazyLock::new(|| entries("torrent"));

fn strings(list: &Json) -> Vec<&str> {
    list.as_array().map(|list| list.iter().filter_map(Json::as_str).collect()).unwrap_or_default()
}

fn tiers(tiers: &Json) -> Vec<Vec<String>> {
    urls::tiers(tiers.as_array().into_iter().flatten().map(strings))
}

/// What an accepted torrent shows otherwise than the manifest says.
fn faults(entry: &Json, torrent: &Metainfo) -> Vec<String> {
    let fields = &entry["fields"];
    let info = &torrent.info;
    let mut faults = safety_faults(torrent);
    let mut compare = |field: &str, same: bool, found: &dyn std::fmt::Debug| {
        if checks(entry, field) && !same {
            faults.push(format!("{field} is {found:?}, not {}", fields[field]));
        }
    };
    let hex = |hash: Option<String>| hash.map_or(Json::Null, Json::String);
    compare("info_hash_v1", hex(info.hashes.v1_hex()) == fields["info_hash_v1"], &info.hashes);
    compare("info_hash_v2", hex(info.hashes.v2_hex()) == fields["info_hash_v2"], &info.hashes);
    compare("piece_length", info.geometry.piece_length() == fields["piece_length"], &info.geometry);
    compare("private", info.private == fields["private"], &info.private);
    compare("total_length", info.content_length() == fields["total_length"], &info.content_length());
    let found = urls::tiers(torrent.trackers.iter().map(|tier| tier.iter().map(String::as_str).collect()));
    let others = fields["trackers_alternatives"].as_array().into_iter().flatten().map(tiers);
    let mut readings = std::iter::once(tiers(&fields["trackers"])).chain(others);
    compare("trackers", readings.any(|reading| reading == found), &torrent.trackers);
    let count: usize = torrent.trackers.iter().map(Vec::len).sum();
    compare("trackers_count", count == fields["trackers_count"], &count);
    let found = urls::seeds(torrent.web_seeds.iter().map(String::as_str));
    compare("web_seeds", found == urls::seeds(strings(&fields["web_seeds"])), &torrent.web_seeds);
    faults.extend(name_fault(entry, &info.name));
    if checks(entry, "files") && fields["num_files"].is_u64() {
        faults.extend(files_fault(entry, torrent));
    }
    faults
}

#[test]
fn every_torrent_is_shown_or_refused_as_the_manifest_says() {
    let mut faults_found = Vec::new();
    for (entry, bytes) in ENTRIES.iter() {
        let id = &entry["id"];
        match (Metainfo::parse(bytes), must_accept(entry)) {
            (Ok(_), Some(false)) => faults_found.push(format!("{id}: accepted, but {}", entry["reason"])),
            (Ok(torrent), _) => {
                faults_found.extend(faults(entry, &torrent).iter().map(|fault| format!("{id}: {fault}")));
            }
            (Err(error), Some(true)) => faults_found.push(format!("{id}: refused: {error}")),
            (Err(error), _) => {
                assert!(
                    !error.to_string().contains(char::is_control),
                    "{id}: {error:?} is not one plain line"
                );
            }
        }
    }
    assert!(faults_found.is_empty(), "{} faults:\n{}", faults_found.len(), faults_found.join("\n"));
}

#[test]
fn lenient_torrents_come_out_as_recommended() {
    let mut faults_found = Vec::new();
    for (entry, bytes) in ENTRIES.iter().filter(|(entry, _)| must_accept(entry).is_none()) {
        match (Metainfo::parse(bytes), entry["recommend"].as_str().unwrap()) {
            (Ok(_), "reject") => {
                faults_found.push(format!("{}: accepted, but {}", entry["id"], entry["reason"]));
            }
            (Err(error), "accept") => faults_found.push(format!("{}: refused: {error}", entry["id"])),
            _ => {}
        }
    }
    assert!(faults_found.is_empty(), "{} faults:\n{}", faults_found.len(), faults_found.join("\n"));
}

#[test]
fn an_info_dictionary_alone_reads_the_same() {
    let mut read = 0;
    for (entry, bytes) in ENTRIES.iter() {
        let Ok(torrent) = Metainfo::parse(bytes) else { continue };
        assert_eq!(Info::parse(torrent.info.raw()).as_ref(), Ok(&torrent.info), "{}", entry["id"]);
        let (value, _) = parse_prefix(bytes, Limits::TORRENT).unwrap();
        assert!(value.get(b"info").unwrap().raw() == torrent.info.raw(), "{}", entry["id"]);
        read += 1;
    }
    assert!(ENTRIES.is_empty() || read > 150, "only {read} torrents were read");
}

#[test]
fn a_torrent_written_again_reads_the_same() {
    let mut written = 0;
    for (entry, bytes) in ENTRIES.iter() {
        let Ok(torrent) = Metainfo::parse(bytes) else { continue };
        let again = Metainfo::parse(&torrent.encode());
        assert_eq!(again.as_ref(), Ok(&torrent), "{}", entry["id"]);
        written += 1;
    }
    assert!(ENTRIES.is_empty() || written > 150, "only {written} torrents were written");
}

#[test]
fn what_a_link_leads_to_is_written_with_what_the_link_says() {
    for (_, bytes) in ENTRIES.iter() {
        let Ok(torrent) = Metainfo::parse(bytes) else { continue };
        let node = Address::new("2001:db8::1", 6881).unwrap();
        let link = Magnet { nodes: vec![node], ..torrent.magnet() };
        let found = link.metainfo(Info::parse(torrent.info.raw()).unwrap());
        assert_eq!(found.info, torrent.info);
        assert_eq!(found.trackers.concat(), torrent.trackers.concat());
        assert_eq!(Metainfo::parse(&found.encode()).unwrap(), found);
    }
}

/// The corpus's rule for generated content: byte `o` of file `i`, pad files not counted.
fn payload(file: u64, length: u64) -> Vec<u8> {
    (0..length).map(|o| (31 * file + 7 * o + (o >> 8)) as u8).collect()
}

#[test]
fn generated_content_has_the_hashes_that_the_torrents_name() {
    let mut checked = 0;
    for (entry, bytes) in ENTRIES.iter().filter(|(entry, _)| entry["payload_rule"].is_string()) {
        let torrent = Metainfo::parse(bytes).unwrap();
        let info = &torrent.info;
        let mut stream = vec![0; usize::try_from(info.geometry.total_length()).unwrap()];
        let mut number = 0;
        for file in &info.files {
            if file.pad {
                continue;
            }
            let content = payload(number, file.length);
            number += 1;
            let at = usize::try_from(file.offset).unwrap();
            stream[at..at + content.len()].copy_from_slice(&content);
            if info.version.has_v2() && !content.is_empty() {
                assert_eq!(
                    file.pieces_root,
                    Some(merkle::root_of_bytes(&content)),
                    "{} {}",
                    entry["id"],
                    file.path
                );
            }
        }
        for piece in info.geometry.iter().filter(|_| info.version.has_v1()) {
            let at = usize::try_from(info.geometry.offset_of(piece)).unwrap();
            let content = &stream[at..at + info.geometry.length_of(piece) as usize];
            assert_eq!(info.piece_hash(piece), Some(&sha1(content)), "{} piece {piece}", entry["id"]);
        }
        checked += 1;
    }
    assert!(ENTRIES.is_empty() || checked > 20, "only {checked} torrents follow the rule");
}

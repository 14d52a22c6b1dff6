//! Every magnet link of the corpus.

use crate::manifest::{checks, entries, must_accept};
use crate::urls;
use quelea_metainfo::{Error, Magnet};
use serde_json::Value as Json;
use std::collections::BTreeSet;

fn strings(list: &Json) -> Vec<&str> {
    list.as_array().map(|list| list.iter().filter_map(Json::as_str).collect()).unwrap_or_default()
}

fn faults(entry: &Json, magnet: &Magnet) -> Vec<String> {
    let fields = &entry["fields"];
    let mut faults = Vec::new();
    let mut compare = |field: &str, same: bool, found: &dyn std::fmt::Debug| {
        if checks(entry, field) && !fields[field].is_null() && !same {
            faults.push(format!("{field} is {found:?}, not {}", fields[field]));
        }
    };
    let hex = |hash: Option<String>| hash.map_or(Json::Null, Json::String);
    compare("info_hash_v1", hex(magnet.hashes.v1_hex()) == fields["info_hash_v1"], &magnet.hashes);
    compare("info_hash_v2", hex(magnet.hashes.v2_hex()) == fields["info_hash_v2"], &magnet.hashes);
    compare("name", hex(magnet.name.clone()) == fields["name"] || fields["name_long"] == true, &magnet.name);
    let set = |urls: Vec<&str>| urls::tiers([urls]).concat().into_iter().collect::<BTreeSet<String>>();
    let trackers: Vec<&str> = magnet.trackers.iter().map(String::as_str).collect();
    compare("trackers", set(trackers) == set(strings(&fields["trackers"])), &magnet.trackers);
    let seeds = urls::seeds(magnet.web_seeds.iter().map(String::as_str));
    compare("web_seeds", seeds == urls::seeds(strings(&fields["web_seeds"])), &magnet.web_seeds);
    let peers: Vec<String> = magnet.peers.iter().map(ToString::to_string).collect();
    compare("peers", peers == strings(&fields["peers"]), &peers);
    let chosen = magnet.select_only.clone().unwrap_or_default();
    let numbers: Json = chosen.iter().collect();
    compare("select_only", numbers == fields["select_only"], &chosen);
    if let Some(count) = fields["trackers_count"].as_u64()
        && magnet.trackers.len() as u64 != count
    {
        faults.push(format!("{} trackers, not {count}", magnet.trackers.len()));
    }
    faults
}

#[test]
fn every_link_is_read_or_refused_as_the_manifest_says() {
    let mut found = Vec::new();
    for (entry, bytes) in entries("magnet") {
        let id = &entry["id"];
        // A link that is not UTF-8 is no text; a command line would refuse it.
        let link = String::from_utf8_lossy(&bytes);
        match (Magnet::parse(&link), must_accept(&entry)) {
            (Ok(_), Some(false)) => found.push(format!("{id}: accepted, but {}", entry["reason"])),
            (Ok(magnet), _) => {
                found.extend(faults(&entry, &magnet).iter().map(|fault| format!("{id}: {fault}")));
                assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet), "{id} printed");
            }
            (Err(error), Some(true)) => found.push(format!("{id}: refused: {error}")),
            (
                Err(Error::NotMagnet | Error::MagnetWithoutHash | Error::MagnetHash | Error::MagnetHashes),
                _,
            ) => {}
            (Err(error), _) => found.push(format!("{id}: {error:?} is no error of a link")),
        }
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
}

#[test]
fn links_that_name_their_nodes_give_them() {
    for (entry, bytes) in entries("magnet") {
        let nodes = strings(&entry["fields"]["dht_nodes"]);
        if !nodes.is_empty() {
            let magnet = Magnet::parse(str::from_utf8(&bytes).unwrap()).unwrap();
            let found: Vec<String> = magnet.nodes.iter().map(ToString::to_string).collect();
            assert_eq!(found, nodes, "{}", entry["id"]);
        }
    }
}

//! Magnet links, as users meet them: from one `quelea` to another over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(unix)]

mod support;

use serde_json::Value;
use std::process::Output;
use support::{Bed, Leech, Seed};

const FILES: [(&str, usize); 4] =
    [("a.bin", 100_000), ("sub/b.bin", 300_001), ("sub/c.txt", 7), ("z.txt", 20_000)];

fn bed() -> Bed {
    Bed::new("name", 16_384, &FILES)
}

/// Asks the seed, and nobody else.
fn link(bed: &Bed, seed: &Seed, more: &str) -> String {
    let output = bed.quelea().arg("magnet").arg(bed.torrent()).output().unwrap();
    format!("{}&x.pe={}{more}", told(&output), seed.address)
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

/// A download by this link to `out`, which tells what happens in JSON.
fn get(bed: &Bed, link: &str, more: &[&str]) -> Leech {
    let mut command = bed.quelea();
    command.args([link, "--json", "-p", "0", "--bind", "127.0.0.1", "--state-dir", "none", "-o"]);
    command.arg(bed.path("out")).args(more);
    Leech::start(command)
}

#[test]
fn a_link_downloads_everything_and_saves_the_torrent() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let saved = bed.path("saved.torrent");
    let mut leech = get(&bed, &link(&bed, &seed, ""), &["--save-torrent", saved.to_str().unwrap()]);
    let metadata = leech.event("metadata");
    assert_eq!(metadata["name"], "name");
    assert_eq!(metadata["private"], false);
    let paths: Vec<&str> =
        metadata["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["name/a.bin", "name/sub/b.bin", "name/sub/c.txt", "name/z.txt"]);
    let fetching = |line: &&Value| line["event"] == "fetching";
    let hash = leech.told.iter().find(fetching).expect("progress is told")["info_hash"].clone();
    assert_eq!(hash, metadata["info_hash"]);
    assert_eq!(leech.event("added")["info_hash"], hash);
    leech.event("completed");
    assert_eq!(leech.wait(), Some(0));
    assert_eq!(bed.differences(&bed.path("out")), [""; 0]);
    let show = |path| {
        let shown = told(&bed.quelea().args(["show", "--json"]).arg(path).output().unwrap());
        serde_json::from_str::<Value>(&shown).unwrap()
    };
    assert_eq!(show(&saved)["info_hash_v1"], show(&bed.torrent())["info_hash_v1"]);
    // Again: it lies there already, which is no fault; what is another's is left alone.
    let mut again = get(&bed, &link(&bed, &seed, ""), &["--save-torrent", saved.to_str().unwrap()]);
    assert_eq!(again.wait(), Some(0));
    std::fs::write(&saved, "something else").unwrap();
    let mut refused = get(&bed, &link(&bed, &seed, ""), &["--save-torrent", saved.to_str().unwrap()]);
    assert_eq!(refused.wait(), Some(4));
    assert_eq!(std::fs::read(&saved).unwrap(), b"something else");
}

#[test]
fn the_link_chooses_files_unless_the_user_does() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let chosen = |more: &str, options: &[&str]| {
        let _ = std::fs::remove_dir_all(bed.path("out"));
        let mut leech = get(&bed, &link(&bed, &seed, more), options);
        let code = leech.wait();
        let there = |path: &&str| bed.file(&bed.path("out"), path).exists();
        let files: Vec<&str> = FILES.iter().map(|(path, _)| *path).filter(there).collect();
        (code, files)
    };
    assert_eq!(chosen("&so=0,2", &[]), (Some(0), vec!["a.bin", "sub/c.txt"]));
    assert_eq!(chosen("&so=0,2", &["--select", "z*"]), (Some(0), vec!["z.txt"]));
    assert_eq!(chosen("", &["--select", "2-3", "--priority", "2=0"]), (Some(0), vec!["sub/c.txt"]));
    assert_eq!(chosen("&so=9", &[]), (Some(2), vec![]));
    assert_eq!(chosen("", &["--select", "*.mkv"]), (Some(2), vec![]));
}

#[test]
fn people_are_shown_the_files_and_where_it_stands() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let mut command = bed.quelea();
    let link = link(&bed, &seed, "");
    command.args([&link, "-p", "0", "--bind", "127.0.0.1", "--state-dir", "none", "-o"]).arg(bed.path("out"));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("name: metadata is here: 410 KiB in 4 files"), "{said}");
    assert!(said.contains("\n  2   293 KiB      b.bin\n") || said.contains("b.bin"), "{said}");
    assert!(said.contains("out/name: complete, 410 KiB in "), "{said}");
}

#[test]
fn show_and_verify_ask_peers() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let link = link(&bed, &seed, "");
    let shown = told(&bed.quelea().args(["show", "--json", "--fetch", &link]).output().unwrap());
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["files"].as_array().unwrap().len(), 4);
    // Without being told to, it asks nobody.
    let offline = told(&bed.quelea().args(["show", "--json", &link]).output().unwrap());
    assert!(!offline.contains("files"), "{offline}");
    let verified = told(&bed.quelea().args(["verify", &link, "-o"]).arg(bed.path("seed")).output().unwrap());
    assert!(verified.contains("4 of 4 files are good"), "{verified}");
    let output = bed.quelea().args(["verify", "-q", &link, "-o"]).arg(bed.path("out")).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_link_that_leads_to_nobody_is_told_so_and_nonsense_is_refused() {
    let bed = bed();
    let nobody = "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567";
    for arguments in [["verify", nobody], ["show", nobody]] {
        let mut command = bed.quelea();
        command.args(arguments);
        if arguments[0] == "show" {
            command.arg("--fetch");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("there is nobody to ask"));
    }
    let mut leech = get(&bed, nobody, &[]);
    leech.until("warning of nobody", |line| {
        line["event"] == "warning" && line["message"].as_str().unwrap().contains("there is nobody to ask")
    });
    leech.signal("INT");
    assert_eq!(leech.wait(), Some(130));
    let mut refused = get(&bed, "magnet:?xt=urn:btih:zz", &[]);
    assert_eq!(refused.wait(), Some(3));
}

#[test]
fn a_link_whose_metadata_did_not_come_is_listed_and_resumed() {
    let bed = bed();
    let link = told(&bed.quelea().arg("magnet").arg(bed.torrent()).output().unwrap());
    let (out, state) = (bed.path("out"), bed.path("state"));
    let list = || -> Value {
        let listed = bed.quelea().args(["list", "--json", "--state-dir"]).arg(&state).output().unwrap();
        serde_json::from_str(&told(&listed)).unwrap()
    };
    let mut command = bed.quelea();
    command.args([&link, "--json", "-p", "0", "--bind", "127.0.0.1", "--select", "sub/*", "--state-dir"]);
    command.arg(&state).arg("-o").arg(&out);
    let mut leech = Leech::start(command);
    // It is noted while nobody has the metadata.
    leech.until("a note of it", |_| list() != Value::Array(Vec::new()));
    leech.signal("INT");
    assert_eq!(leech.wait(), Some(130), "{}", leech.stderr());
    let known = list();
    assert_eq!(known.as_array().unwrap().len(), 1, "{known}");
    assert_eq!((&known[0]["name"], &known[0]["complete"]), (&"name".into(), &Value::Null));
    assert_eq!(known[0]["link"], link.as_str());
    assert_eq!(std::path::Path::new(known[0]["directory"].as_str().unwrap()), out.canonicalize().unwrap());
    let table = told(&bed.quelea().args(["list", "--state-dir"]).arg(&state).output().unwrap());
    assert!(table.contains("its metadata is awaited"), "{table}");

    // From anywhere, and with nothing named.
    let seed = Seed::start(&bed);
    let mut command = bed.quelea();
    command.args(["resume", "--json", "-p", "0", "--bind", "127.0.0.1", "--peer", &seed.address]);
    command.arg("--state-dir").arg(&state).current_dir(bed.path("seed"));
    let mut resumed = Leech::start(command);
    resumed.event("completed");
    assert_eq!(resumed.wait(), Some(0), "{}", resumed.stderr());
    assert_eq!(bed.differences(&out), ["a.bin", "z.txt"], "what was selected came, and nothing else");
    let known = list();
    assert_eq!(known.as_array().unwrap().len(), 1, "{known}");
    assert_eq!((&known[0]["complete"], &known[0]["link"]), (&true.into(), &Value::Null));
}

#[test]
fn a_link_whose_metadata_did_not_come_is_forgotten_like_a_torrent() {
    let bed = bed();
    let link = told(&bed.quelea().arg("magnet").arg(bed.torrent()).output().unwrap());
    let state = bed.path("state");
    let list = || told(&bed.quelea().args(["list", "--state-dir"]).arg(&state).output().unwrap());
    let mut command = bed.quelea();
    command.args([&link, "--json", "-p", "0", "--bind", "127.0.0.1", "--state-dir"]).arg(&state);
    command.arg("-o").arg(bed.path("out"));
    let mut leech = Leech::start(command);
    leech.until("a note of it", |_| !list().is_empty());
    leech.signal("INT");
    assert_eq!(leech.wait(), Some(130), "{}", leech.stderr());
    let forget = || bed.quelea().args(["forget", &link, "--state-dir"]).arg(&state).output().unwrap();
    assert!(told(&forget()).contains("is forgotten"));
    assert!(list().is_empty());
    assert_eq!(forget().status.code(), Some(2));
}

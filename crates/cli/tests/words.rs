//! What the program understands of what people type, and what it says when something is not as they meant it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{Bed, Leech, Seed, alone};

const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

fn quelea(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
    alone(&mut command);
    command.args(arguments);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a command that ends with `status`, and gives what it printed and what it said.
fn ended(command: &mut Command, status: i32) -> (String, String) {
    let Output { status: ended, stdout, stderr } = command.output().unwrap();
    assert_eq!(ended.code(), Some(status), "{}", text(&stderr));
    (String::from_utf8_lossy(&stdout).into_owned(), text(&stderr).to_owned())
}

/// Runs a command that reads this.
fn fed(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = quelea(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// A download of what is there already, which ends by itself.
fn complete(bed: &Bed) -> Command {
    let mut command = bed.quelea();
    command.arg(bed.torrent()).arg("-o").arg(bed.path("seed")).args(["-p", "0", "--bind", "127.0.0.1"]);
    command
}

fn small(name: &str) -> Bed {
    Bed::new(name, 16_384, &[("a", 20_000)])
}

#[test]
fn a_mistyped_command_starts_nothing_and_is_told() {
    let bed = small("x");
    let (_, said) = ended(quelea(&["shwo"]).arg(bed.torrent()).current_dir(bed.path("")), 2);
    assert_eq!(
        said,
        "quelea: shwo is neither a file nor a command; did you mean quelea show? (see quelea --help)\n"
    );
    assert!(!bed.path("x").exists());
}

#[test]
fn torrents_come_from_standard_input_compressed_or_as_a_link_in_a_file() {
    let bed = small("x");
    let torrent = std::fs::read(bed.torrent()).unwrap();
    let output = fed(&["show", "-"], &torrent);
    assert!(text(&output.stdout).starts_with("x\n"), "{}", text(&output.stderr));
    let link = format!("magnet:?xt=urn:btih:{HASH}&dn=linked\n");
    std::fs::write(bed.path("link.txt"), &link).unwrap();
    let (shown, _) = ended(quelea(&["show"]).arg(bed.path("link.txt")), 0);
    assert!(shown.starts_with("linked\n"), "{shown}");
    let url = format!("file://{}", bed.torrent().display());
    assert!(ended(&mut quelea(&["show", &url]), 0).0.starts_with("x\n"));
    assert!(ended(&mut quelea(&["show", HASH]), 0).0.contains(HASH));
    let json: serde_json::Value = serde_json::from_slice(&fed(&["bencode", "-"], b"i1e").stdout).unwrap();
    assert_eq!(json["value"]["i"], "1");
}

#[test]
fn a_saved_web_page_is_called_one() {
    let output = fed(&["show", "-"], b"\n<!DOCTYPE html><title>Log in</title>");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).starts_with("quelea: standard input is a web page, not a torrent file: "));
}

#[test]
fn a_link_says_what_of_it_is_ignored_and_that_it_may_be_cut() {
    let (_, said) = ended(&mut quelea(&["show", &format!("magnet:?xt=urn:btih:{HASH}&tr=wss%3A%2F%2Fa")]), 0);
    assert!(said.starts_with("warning: tr=wss://a of the link is ignored"), "{said}");
    let (_, said) = ended(&mut quelea(&["show", &format!("magnet:?xt=urn:btih:{HASH}")]), 0);
    assert!(said.starts_with("warning: the link has nothing behind a &"), "{said}");
}

#[test]
fn help_is_short_or_whole_and_in_the_order_of_use() {
    let short = ended(&mut quelea(&["-h"]), 0).0;
    let long = ended(&mut quelea(&["--help"]), 0).0;
    assert!(short.lines().count() <= 70, "{short}");
    assert!(!short.contains("--state-dir") && long.contains("--state-dir"));
    let at = |group: &str| long.find(&format!("\n{group}:\n")).unwrap_or_else(|| panic!("{group}: {long}"));
    let groups = ["Files", "Seeding", "Limits", "Peers", "Output", "Configuration"].map(at);
    assert!(groups.is_sorted(), "{groups:?}");
    assert!(!ended(&mut quelea(&["doctor", "--help"]), 0).0.contains("--select"));
    let (_, said) = ended(&mut quelea(&["doctor", "--select", "1", "--bind", "nosuch"]), 2);
    assert!(said.contains("not an IP address"), "{said}");
}

#[test]
fn every_command_below_another_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    ended(quelea(&["man"]).arg(folder.path()), 0);
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("quelea-dht.1").replace('\\', "").contains("get-peers"));
    assert!(page("quelea-dht-publish.1").contains("key"));
}

#[test]
fn a_torrent_is_made_to_standard_output() {
    let bed = small("x");
    let output = quelea(&["create", "-o", "-"]).arg(bed.path("seed/x/a")).output().unwrap();
    assert!(output.stdout.starts_with(b"d4:infod6:length"));
    assert!(text(&output.stderr).contains("\nmagnet:?xt=urn:btih:"), "{}", text(&output.stderr));
    assert!(!Path::new("-").exists());
}

#[test]
fn trackers_that_are_none_are_refused_and_a_private_torrent_without_one_is_told() {
    let bed = small("x");
    let create = |options: &[&str]| {
        let mut command = quelea(&["create", "-q", "-f", "-o"]);
        command.arg(bed.path("new.torrent")).arg(bed.path("seed/x")).args(options);
        command
    };
    for (tracker, fault) in [
        ("http://a.example/announce,http://b.example/announce", "several"),
        ("http://[::1/announce", "IPv6"),
        ("http://a.example:99999/announce", "port"),
        ("udp://a.example", "port"),
    ] {
        let (_, said) = ended(&mut create(&["-t", tracker]), 2);
        assert!(said.contains(fault), "{said}");
    }
    let (_, said) = ended(&mut create(&["--private"]), 0);
    assert!(said.starts_with("warning: nobody can find the peers of a private torrent"), "{said}");
    assert_eq!(ended(&mut create(&["--private", "-t", "udp://a.example:1"]), 0).1, "");
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    for (variable, value, shown) in
        [("QUELEA_SEED", "maybe", "maybe"), ("QUELEA_PORT", "70000", "70000"), ("QUELEA_PEER", "a:1 b", "b")]
    {
        let (_, said) = ended(quelea(&["a.torrent"]).env(variable, value), 2);
        let begin = format!("quelea: the variable {variable} cannot be '{shown}': ");
        assert!(said.starts_with(&begin) && said.lines().count() == 1, "{said}");
    }
    let (_, said) = ended(quelea(&["a.torrent", "--seed=maybe"]).env("QUELEA_SEED", "yes"), 2);
    assert!(said.contains("--seed"), "{said}");
}

#[test]
fn json_that_cannot_be_written_ends_with_a_reason() {
    let bed = small("x");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (_, said) = ended(complete(&bed).args(["--json", "--seed", "--state-dir", "none"]).stdout(full), 4);
    assert!(said.contains("standard output cannot be written to: No space left on device"), "{said}");
}

#[test]
fn a_home_that_is_none_is_told_and_stops_nothing() {
    let bed = small("x");
    let (_, said) = ended(complete(&bed).env("HOME", "/dev/null").env_remove("XDG_STATE_HOME"), 0);
    assert!(said.starts_with("warning: nothing of this download is remembered"), "{said}");
    assert!(said.contains("complete"), "{said}");
}

#[test]
fn a_name_too_long_for_its_torrent_file_is_cut_there_and_a_place_that_is_taken_stops_nothing() {
    let name = "n".repeat(250);
    let bed = Bed::new(&name, 16_384, &[("a", 20_000)]);
    std::fs::create_dir(bed.path("saved")).unwrap();
    ended(complete(&bed).arg("--save-torrent").arg(bed.path("saved")).args(["--state-dir", "none"]), 0);
    let saved: Vec<_> =
        std::fs::read_dir(bed.path("saved")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(saved.len(), 1);
    assert_eq!(
        ended(quelea(&["show", "--json"]).arg(&saved[0]), 0),
        ended(quelea(&["show", "--json"]).arg(bed.torrent()), 0)
    );
    let made = tempfile::tempdir().unwrap();
    ended(quelea(&["create", "-q"]).arg(bed.path("seed").join(&name)).current_dir(made.path()), 0);
    assert!(made.path().join(format!("{}.torrent", "n".repeat(247))).is_file());
    std::fs::write(bed.path("taken"), b"mine").unwrap();
    let (_, said) =
        ended(complete(&bed).arg("--save-torrent").arg(bed.path("taken")).args(["--state-dir", "none"]), 4);
    assert!(said.contains("another file has this name") && said.contains("complete"), "{said}");
}

#[test]
fn a_name_with_brackets_is_selected_to_the_letter() {
    let bed = Bed::new("x", 16_384, &[("[Grp] Show [1080p].mkv", 20_000), ("b", 10)]);
    for choice in ["[Grp] Show [1080p].mkv", "x/[Grp] Show [1080p].mkv"] {
        let (_, said) = ended(complete(&bed).args(["--state-dir", "none", "--select", choice]), 0);
        assert!(said.contains("complete, 19.5 KiB"), "{said}");
    }
}

#[test]
fn a_tilde_is_the_home_in_variables_and_behind_an_equals_sign() {
    let bed = small("x");
    let home = bed.path("");
    let get = || {
        let mut command = bed.quelea();
        command.arg(bed.torrent()).args(["-p", "0", "--bind", "127.0.0.1", "--state-dir=none"]);
        command.env("HOME", &home).current_dir(bed.path("seed"));
        command
    };
    assert!(ended(get().env("QUELEA_OUTPUT_DIR", "~/seed"), 0).1.contains("complete"));
    assert!(ended(get().arg("--output-dir=~/seed"), 0).1.contains("complete"));
    assert!(!bed.path("seed/~").exists());
}

#[test]
fn a_peer_may_have_a_name() {
    let bed = small("x");
    let mut seed = Seed::start(&bed);
    seed.address = seed.address.replace("127.0.0.1", "localhost");
    let mut leech = Leech::start(bed.leech(&bed.path("to"), &seed));
    leech.event("completed");
    assert_eq!(leech.wait(), Some(0));
}

#[test]
fn the_end_of_seeding_asks_for_no_second_ctrl_c() {
    let bed = small("x");
    let (_, said) = ended(complete(&bed).args(["--state-dir", "none", "--seed-time", "1s"]), 0);
    assert!(said.contains("uploaded, ratio"), "{said}");
    assert!(!said.contains("Ctrl-C"), "{said}");
}

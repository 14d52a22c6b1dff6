//! The program as its users meet it: what it prints, where, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

fn quelea(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
    command.args(arguments).stdin(Stdio::null());
    // What the tester's own shell says must not decide.
    for (name, _) in std::env::vars_os() {
        let lower = name.to_string_lossy().to_lowercase();
        if lower.starts_with("quelea_") || lower.ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("QUELEA_STATE_DIR", "none");
    command.env("QUELEA_NO_DHT", "yes").env("QUELEA_NO_PORT_MAP", "yes");
    command
}

fn run(arguments: &[&str]) -> Output {
    quelea(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Asserts that nothing came but one harmless line on standard error, and gives it.
fn refusal(output: &Output, expected: i32) -> String {
    assert_eq!(code(output), expected, "{}", stderr(output));
    assert_eq!(stdout(output), "");
    let line = stderr(output).strip_suffix('\n').unwrap();
    assert!(!line.contains(char::is_control), "{line:?}");
    line.to_owned()
}

/// A torrent of one file named `name` of ten bytes, whose content nobody has.
fn torrent(name: &str) -> Vec<u8> {
    format!(
        "d4:infod6:lengthi10e4:name{}:{name}12:piece lengthi16384e6:pieces20:xxxxxxxxxxxxxxxxxxxxee",
        name.len()
    )
    .into_bytes()
}

/// A folder with files of these names and contents.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// The corpus, unless it is not beside the project.
fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no corpus at {}", path.display());
    eprintln!("skipped: no corpus at {}", path.display());
    None
}

#[test]
fn help_tells_the_commands_options_and_exit_codes() {
    let long = run(&["--help"]);
    assert_eq!(code(&long), 0);
    for word in [
        "Usage: quelea [OPTIONS] FILE",
        "show",
        "--output-dir",
        "--select",
        "Exit codes:",
        "130  interrupted",
    ] {
        assert!(stdout(&long).contains(word), "{word}");
    }
    for line in stdout(&long).lines().chain(stdout(&run(&["-h"])).lines()) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn no_argument_prints_short_help_and_fails() {
    let output = run(&[]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("Usage: quelea"));
    assert!(!stderr(&output).contains("Exit codes:\n"));
}

#[test]
fn version_is_that_of_the_package() {
    assert_eq!(stdout(&run(&["--version"])), concat!("quelea ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("bencode"), "{shell}");
        assert!(stdout(&output).contains("output-dir"), "{shell}");
    }
}

#[test]
fn show_prints_json_with_every_field() {
    let folder = folder(&[("a.torrent", &torrent("a"))]);
    let file = folder.path().join("a.torrent");
    let output = run(&["show", "--json", file.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["info_hash_v1"].as_str().unwrap().len(), 40);
    assert_eq!(json["info_hash_v2"], serde_json::Value::Null);
    assert_eq!(json["name"], "a");
    assert_eq!(json["piece_length"], 16384);
    assert_eq!(json["total_length"], 10);
    assert_eq!(json["private"], false);
    assert_eq!(json["files"], serde_json::json!([{"path": "a", "length": 10}]));
    assert_eq!(json["trackers"], serde_json::json!([]));
    assert_eq!(json["web_seeds"], serde_json::json!([]));
    assert_eq!(stderr(&output), "");
}

#[test]
fn show_prints_a_magnet_link() {
    let link = "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567&dn=x&x.pe=127.0.0.1:7&so=1-2";
    let json: serde_json::Value = serde_json::from_slice(&run(&["show", link, "--json"]).stdout).unwrap();
    assert_eq!(json["info_hash_v1"], "0123456789abcdef0123456789abcdef01234567");
    assert_eq!(json["peers"], serde_json::json!(["127.0.0.1:7"]));
    assert_eq!(json["select_only"], serde_json::json!([1, 2]));
    assert!(stdout(&run(&["show", link])).starts_with("x\n  info hash   0123456789"));
}

#[test]
fn show_and_bencode_hold_to_the_corpus() {
    let Some(corpus) = corpus() else { return };
    let manifest = std::fs::read_to_string(corpus.join("manifest.json")).unwrap();
    let mut seen = 0;
    // An entry a line. A few hold values nested more deeply than this reader of JSON goes.
    let entries = manifest.lines().filter(|line| line.trim_start().starts_with("{\"id\""));
    for entry in
        entries.filter_map(|line| serde_json::from_str::<serde_json::Value>(line.trim_end_matches(',')).ok())
    {
        let file = corpus.join(entry["file"].as_str().unwrap());
        let file = file.to_str().unwrap();
        let link = std::fs::read_to_string(file).ok();
        let arguments: Vec<&str> = match (entry["kind"].as_str().unwrap(), &link) {
            ("torrent", _) => vec!["show", "--json", file],
            ("bencode", _) => vec!["bencode", file],
            ("magnet", Some(link)) => vec!["show", "--json", link],
            _ => continue,
        };
        let output = run(&arguments);
        match entry["expect"].as_str().unwrap() {
            "valid" => {
                assert_eq!(code(&output), 0, "{}: {}", entry["id"], stderr(&output));
                let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                for field in ["info_hash_v1", "info_hash_v2"] {
                    assert_eq!(json[field], entry["fields"][field], "{}", entry["id"]);
                }
                if entry["kind"] == "bencode" {
                    // Large values are left out of the manifest.
                    let same = entry["value"].is_null() || json["value"] == entry["value"];
                    assert!(same, "{}", entry["id"]);
                    assert_eq!(json["canonical"], entry["canonical"], "{}", entry["id"]);
                } else {
                    // What a person is shown must not steer the terminal, whatever the torrent says.
                    let shown = run(&["show", arguments.last().unwrap()]);
                    assert!(!stdout(&shown).replace('\n', "").contains(char::is_control), "{}", entry["id"]);
                }
            }
            "reject" => {
                // What does not begin like a link is taken for a file that is not there.
                let is_file =
                    arguments.last().is_some_and(|last| !last.starts_with("magnet:") && *last != file);
                refusal(&output, if is_file { 4 } else { 3 });
            }
            _ => assert!([0, 3, 4].contains(&code(&output)), "{}: {}", entry["id"], stderr(&output)),
        }
        seen += 1;
    }
    assert!(seen > 500, "{seen}");
}

#[test]
fn refusals_are_one_harmless_line() {
    let folder = folder(&[("bad\u{1b}[31m\n.torrent", b"i0e"), ("list", b"l")]);
    let bad = folder.path().join("bad\u{1b}[31m\n.torrent");
    let bad = bad.to_str().unwrap();
    assert!(refusal(&run(&["show", bad]), 3).ends_with("`torrent` must be a dictionary"));
    assert!(refusal(&run(&[bad]), 3).ends_with("`torrent` must be a dictionary"));
    let list = folder.path().join("list");
    assert!(refusal(&run(&["bencode", list.to_str().unwrap()]), 3).contains("ends too early"));
    assert!(refusal(&run(&["show", "/no/such\n/file"]), 4).ends_with("file: No such file or directory"));
    assert!(refusal(&run(&["show", "magnet:?dn=x"]), 3).contains("no BitTorrent info-hash"));
    assert!(refusal(&run(&["dwonload"]), 4).contains("not a command"));
}

#[test]
fn a_pure_v2_torrent_is_shown_but_refused_for_download() {
    let Some(corpus) = corpus() else { return };
    let file = corpus.join("third-party/torrents/anacrolix/bittorrent-v2-test.torrent");
    let file = file.to_str().unwrap();
    assert!(stdout(&run(&["show", file])).contains("v2 only"));
    let folder = tempfile::tempdir().unwrap();
    let output =
        quelea(&[file, "-p", "0", "--bind", "127.0.0.1", "--no-lsd"]).current_dir(&folder).output().unwrap();
    assert!(refusal(&output, 3).contains("v2"));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn selecting_what_is_not_there_lists_what_is() {
    let folder = folder(&[("a.torrent", &torrent("name"))]);
    let file = folder.path().join("a.torrent");
    let file = file.to_str().unwrap();
    for output in [run(&[file, "--select", "2"]), quelea(&[file]).env("QUELEA_SELECT", "2").output().unwrap()]
    {
        assert_eq!(code(&output), 2);
        assert_eq!(stderr(&output), "quelea: there is no file 2; the torrent has 1 file:\n  1  name\n");
    }
}

#[test]
fn options_can_come_from_the_environment_and_are_checked_there() {
    for (variable, value) in [
        ("QUELEA_PORT", "70000"),
        ("QUELEA_BIND", "127.0.0.1 eth0"),
        ("QUELEA_SEED", "maybe"),
        ("QUELEA_LOG", "a=b=c"),
    ] {
        let output = quelea(&["a.torrent"]).env(variable, value).output().unwrap();
        assert_eq!(code(&output), 2, "{variable}: {}", stderr(&output));
    }
}

#[test]
fn switches_in_the_environment_can_say_no() {
    let folder = folder(&[("a.torrent", &torrent("name"))]);
    let mut command = quelea(&[folder.path().join("a.torrent").to_str().unwrap(), "--select", "2"]);
    for switch in ["SEED", "PREALLOCATE", "QUIET"] {
        command.env(format!("QUELEA_{switch}"), "no");
    }
    let output = command.env("QUELEA_VERBOSE", "1").env("QUELEA_BIND", "127.0.0.1 ::1").output().unwrap();
    assert!(stderr(&output).contains("there is no file 2"), "{}", stderr(&output));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = folder(&[("a", b"le")]);
    let file = folder.path().join("a");
    for arguments in [vec!["completions", "bash"], vec!["bencode", file.to_str().unwrap()], vec!["--help"]] {
        let mut child = quelea(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(stderr(&output), "", "{arguments:?}");
        assert_eq!(code(&output), 0, "{arguments:?}");
    }
}

/// Serves each of `answers` to one connection, in order, and gives the address.
fn serve(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            // A client that has seen enough closes.
            let _ = stream.write_all(&answer);
        }
    });
    format!("http://{address}")
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat()
}

#[test]
fn a_url_is_fetched_and_redirects_are_followed() {
    let url = serve(vec![
        answer("302 Found\r\nLocation: /there", b""),
        answer("200 OK\r\nContent-Type: application/x-bittorrent", &torrent("fetched")),
    ]);
    let output = run(&["show", &format!("{url}/a.torrent")]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).starts_with("fetched\n"));
}

#[test]
fn a_url_that_does_not_lead_to_a_torrent_is_refused_clearly() {
    let endless = answer("200 OK", &vec![b'x'; 11 << 20]);
    let redirects = (0..7).map(|n| answer(&format!("302 Found\r\nLocation: /{n}"), b"")).collect();
    for (answers, status, words) in [
        (vec![answer("404 Not Found", b"")], 5, "the server answered 404 Not Found"),
        (vec![answer("200 OK\r\nContent-Length: 99999999", b"")], 5, "larger than 10 MiB"),
        (vec![endless], 5, "larger than 10 MiB"),
        (vec![answer("200 OK\r\nContent-Type: text/html; charset=utf-8", b"<html>")], 3, "a web page"),
        (vec![answer("200 OK", b"i1e")], 3, "must be a dictionary"),
        (
            vec![answer("302 Found\r\nLocation: ftp://127.0.0.1/", b"")],
            5,
            "it leads to ftp:, which is not HTTP",
        ),
        (redirects, 5, "there are more than 5"),
        (vec![b"nonsense\r\n\r\n".to_vec()], 5, "cannot fetch"),
    ] {
        let url = serve(answers);
        let line = refusal(&run(&["get", &url]), status);
        assert!(line.contains(words), "{line}");
        assert!(line.contains(&url), "{line}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = refusal(&run(&[&format!("http://{gone}/a.torrent")]), 5);
    assert_eq!(line, format!("quelea: cannot fetch http://{gone}/a.torrent: Connection refused"));
}

#[test]
fn a_url_is_fetched_from_the_bound_address_alone() {
    // No interface has this address (RFC 5737), so nothing can leave from it.
    let url = serve(vec![answer("200 OK", &torrent("leaked"))]);
    let line = refusal(&run(&[&url, "--bind", "192.0.2.1"]), 5);
    assert!(line.contains("cannot fetch"), "{line}");
}

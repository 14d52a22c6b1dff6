//! Options from the command line, the environment and a file, and who wins.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use serde_json::Value;
use std::process::{Command, Output};

/// A configuration folder whose file says `text`, if any.
fn folder(text: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    if let Some(text) = text {
        std::fs::create_dir(folder.path().join("quelea")).unwrap();
        std::fs::write(folder.path().join("quelea/config.toml"), text).unwrap();
    }
    folder
}

fn quelea(folder: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUELEA_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", folder.path()).env("APPDATA", folder.path()).args(arguments);
    command
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let folder =
        folder(Some("port = 1001\nmax-peers = 11\nselect = [\"x\", \"y\"]\n\nseed = true\nverbose = 2\n"));
    let mut command = quelea(&folder, &["config", "--json", "-p", "3003", "--peer", "127.0.0.1:1"]);
    let told = json(command.env("QUELEA_PORT", "2002").env("QUELEA_MAX_PEERS", "22"));
    let option = |name: &str| told["options"][name].clone();
    assert_eq!(option("port"), serde_json::json!({"value": 3003, "origin": "command line"}));
    assert_eq!(
        option("max-peers"),
        serde_json::json!({"value": 22, "origin": "environment", "variable": "QUELEA_MAX_PEERS"})
    );
    assert_eq!(option("select"), serde_json::json!({"value": ["x", "y"], "origin": "file", "line": 3}));
    assert_eq!(option("seed"), serde_json::json!({"value": true, "origin": "file", "line": 5}));
    assert_eq!(option("verbose"), serde_json::json!({"value": 2, "origin": "file", "line": 6}));
    assert_eq!(option("peer"), serde_json::json!({"value": ["127.0.0.1:1"], "origin": "command line"}));
    assert_eq!(option("max-memory"), serde_json::json!({"value": "80M", "origin": "default"}));
    assert_eq!(option("seed-ratio"), serde_json::json!({"value": null, "origin": "not set"}));
    assert!(told["file"].as_str().unwrap().ends_with("config.toml"));
}

#[test]
fn what_config_prints_is_a_configuration_that_gives_the_same() {
    let empty = folder(None);
    let options = ["config", "--seed", "--bind", "127.0.0.1", "--seed-ratio", "1.5", "--select", "a\"b\\c"];
    let output = quelea(&empty, &options).output().unwrap();
    assert!(stdout(&output).starts_with("# there is no "), "{}", stdout(&output));
    assert!(stdout(&output).contains("\nseed = true                     # command line\n"));
    assert!(stdout(&output).contains("\n# seed-time =                   # not set\n"));
    let saved = folder(Some(stdout(&output)));
    let told = json(&mut quelea(&saved, &["config", "--json"]));
    assert_eq!(told["options"]["seed"]["value"], true);
    assert_eq!(told["options"]["seed-ratio"]["value"], 1.5);
    assert_eq!(told["options"]["select"]["value"][0], "a\"b\\c");
    assert_eq!(told["options"]["bind"]["origin"], "file");
    assert_eq!(told["options"]["port"]["value"], 6881);
}

#[test]
fn a_switch_of_the_file_is_turned_off_by_the_command_line() {
    let folder = folder(Some("seed = true"));
    let told = json(&mut quelea(&folder, &["config", "--json", "--seed=no"]));
    assert_eq!(told["options"]["seed"], serde_json::json!({"value": false, "origin": "command line"}));
}

#[test]
fn a_fault_in_the_file_is_shown_with_its_place() {
    let folder = folder(Some("seed = true\n  max-pers = 3\n"));
    for arguments in [&["config"][..], &["a.torrent"], &["get", "a.torrent"]] {
        let output = quelea(&folder, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&output)
                .ends_with("quelea/config.toml:2:3: there is no option max-pers: did you mean max-peers?\n")
        );
        assert_eq!(stderr(&output).lines().count(), 1);
    }
    // What takes no options from the file is not stopped by it.
    assert_eq!(quelea(&folder, &["completions", "bash"]).output().unwrap().status.code(), Some(0));
}

#[test]
fn another_file_can_be_named_and_must_be_there() {
    let usual = folder(Some("port = 1001"));
    let other = folder(Some("port = 2002"));
    let file = other.path().join("quelea/config.toml");
    let file = file.to_str().unwrap();
    let told = json(&mut quelea(&usual, &["config", "--json", "--config", file]));
    assert_eq!(told["options"]["port"]["value"], 2002);
    let told = json(quelea(&usual, &["config", "--json"]).env("QUELEA_CONFIG", file));
    assert_eq!(told["options"]["port"]["value"], 2002);
    let output = quelea(&usual, &["config", "--config", "/no/such"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let told = "quelea: cannot read the configuration file /no/such: No such file or directory\n";
    assert_eq!(stderr(&output), told);
}

#[test]
fn a_download_takes_its_options_from_the_file() {
    let folder = folder(Some("select = \"2\"\noutput-dir = \"~/x\"\n"));
    let torrent = folder.path().join("a.torrent");
    let head = "d4:infod6:lengthi10e4:name1:a12:piece lengthi16384e6:pieces20:xxxxxxxxxxxxxxxxxxxxee";
    std::fs::write(&torrent, head).unwrap();
    let output = quelea(&folder, &[torrent.to_str().unwrap()]).output().unwrap();
    assert_eq!(stderr(&output), "quelea: there is no file 2; the torrent has 1 file:\n  1  a\n");
    let told = json(quelea(&folder, &["config", "--json"]).env("HOME", "/home/me"));
    assert_eq!(told["options"]["output-dir"]["value"], "/home/me/x");
}

//! `quelea doctor` and `quelea man`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(unix)]

use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn quelea(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUELEA_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("QUELEA_STATE_DIR", "none").args(arguments);
    command
}

fn doctor(folder: &Path, options: &[&str]) -> Command {
    let mut command = quelea(&["doctor", "--json", "-o", folder.to_str().unwrap()]);
    command.args(options);
    command
}

/// What was found out about `name`: its level, and the finding.
fn found(output: &Output, name: &str) -> (String, String) {
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let check = told["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    let level = check["level"].as_str().unwrap().to_owned();
    assert_eq!(check["remedy"].is_null(), level == "ok", "{check}");
    (level, check["found"].as_str().unwrap().to_owned())
}

#[test]
fn every_check_is_told_to_people_and_to_programs() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor(folder.path(), &["-p", "0", "--bind", "127.0.0.1"]).output().unwrap();
    for name in ["port", "DHT", "IPv4", "IPv6", "clock", "open files", "output", "state", "certificates"] {
        found(&output, name);
    }
    assert_eq!(found(&output, "port").0, "ok");
    assert_eq!(found(&output, "clock").0, "ok");
    assert_ne!(found(&output, "output").0, "bad");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bad = told["checks"].as_array().unwrap().iter().any(|check| check["level"] == "bad");
    assert_eq!((told["ok"] == true, output.status.code()), (!bad, Some(i32::from(bad))));
    let text = quelea(&["doctor", "-o", folder.path().to_str().unwrap()]).output().unwrap();
    assert!(String::from_utf8(text.stdout).unwrap().contains("\nnote state         nothing is remembered"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_taken_port_is_told_with_who_has_it_and_what_is_used_instead() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let options = ["--bind", "127.0.0.1", "-p", &port.to_string()];
    let (level, told) = found(&doctor(folder.path(), &options).output().unwrap(), "port");
    assert_ne!(level, "ok");
    assert!(told.starts_with(&format!("{port} is taken")), "{told}");
    if cfg!(target_os = "linux") {
        assert!(told.contains(&format!("(process {})", std::process::id())), "{told}");
    }
}

#[test]
fn an_address_that_is_not_ours_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    // No interface has this address (RFC 5737).
    let output = doctor(folder.path(), &["--bind", "192.0.2.1"]).output().unwrap();
    assert_eq!((found(&output, "port").0.as_str(), output.status.code()), ("bad", Some(1)));
}

#[test]
fn a_directory_that_cannot_be_written_to_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let state = folder.path().join("file/state");
    let output = doctor(&file.join("x"), &["--state-dir", state.to_str().unwrap()]).output().unwrap();
    for name in ["output", "state"] {
        let (level, told) = found(&output, name);
        assert_eq!(level, "bad");
        assert!(told.contains("file: cannot be written to: Not a directory"), "{told}");
    }
    assert_eq!(output.status.code(), Some(1));
    let later = folder.path().join("not/yet");
    let output = doctor(&later, &[]).output().unwrap();
    assert!(found(&output, "output").1.contains("not/yet (will be made)"));
    assert!(!later.exists());
}

#[test]
fn too_few_open_files_and_missing_certificates_are_bad() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_quelea");
    let script = format!("ulimit -n 100 && exec {program} doctor --json --state-dir none -o .");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(&folder).env("XDG_CONFIG_HOME", "/nonexistent");
    command.env("SSL_CERT_FILE", folder.path().join("empty")).env_remove("SSL_CERT_DIR");
    std::fs::write(folder.path().join("empty"), b"").unwrap();
    let output = command.output().unwrap();
    let (level, told) = found(&output, "open files");
    assert_eq!((level.as_str(), told.contains("only 100")), ("bad", true), "{told}");
    assert_eq!(found(&output, "certificates").0, "bad");
}

#[test]
fn the_manual_has_a_page_for_each_command_with_the_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let output = quelea(&["man", folder.path().join("man1").to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    for name in ["quelea", "quelea-get", "quelea-show", "quelea-verify", "quelea-doctor", "quelea-config"] {
        let page = std::fs::read_to_string(folder.path().join(format!("man1/{name}.1"))).unwrap();
        assert!(page.contains(".SH \"EXIT STATUS\""), "{page}");
        assert!(page.contains("130  interrupted"), "{name}");
    }
    let page = quelea(&["man"]).output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    for part in [".TH quelea 1", ".SH NAME", "\\-\\-seed\\-ratio", ".SH ENVIRONMENT", "QUELEA_OUTPUT_DIR"] {
        assert!(page.contains(part), "{part}");
    }
    let output = quelea(&["man", "/dev/null/x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
}

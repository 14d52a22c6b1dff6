//! Making torrents and verifying files, as users meet it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use serde_json::Value;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Runs quelea in `folder`.
fn quelea(folder: &TempDir, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let lower = name.to_string_lossy().to_lowercase();
        if lower.starts_with("quelea_") || lower == "source_date_epoch" {
            command.env_remove(name);
        }
    }
    command
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

/// Asserts success and gives what was printed.
fn done(output: &Output) -> String {
    assert_eq!(code(output), 0, "{}", stderr(output));
    stdout(output).to_owned()
}

/// Asserts that nothing came but one line on standard error, and gives it.
fn refusal(output: &Output, expected: i32) -> String {
    assert_eq!(code(output), expected, "{}", stderr(output));
    assert_eq!(stdout(output), "");
    let line = stderr(output).strip_suffix('\n').unwrap();
    assert!(!line.contains(char::is_control), "{line:?}");
    line.to_owned()
}

fn put(folder: &TempDir, path: &str, bytes: &[u8]) {
    let path = folder.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

/// A folder with an album of three files over five pieces, and its torrent.
///
/// The files end inside the pieces 1 and 3: a has 0 and 1, b has 1 to 3, c has 3 and 4.
fn album() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "album/a", &noise(24_000, 1));
    put(&folder, "album/b", &noise(32_000, 2));
    put(&folder, "album/c", &noise(20_000, 3));
    put(&folder, "album/empty", b"");
    done(&quelea(&folder, &["create", "album", "--piece-length", "16K"]));
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn show(folder: &TempDir, torrent: &str) -> Value {
    serde_json::from_str(&done(&quelea(folder, &["show", "--json", torrent]))).unwrap()
}

/// The report of `verify --json`, and the exit code.
fn verify(folder: &TempDir) -> (Value, i32) {
    let output = quelea(folder, &["verify", "album.torrent", "--json"]);
    (serde_json::from_str(stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output))), code(&output))
}

/// The states of the album's files.
fn states(report: &Value) -> [&str; 4] {
    let files = report["files"].as_array().unwrap();
    [0, 1, 2, 3].map(|file| files[file]["state"].as_str().unwrap())
}

#[test]
fn a_torrent_created_says_what_was_asked_for_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "data/z", &noise(40_000, 1));
    put(&folder, "data/a/b", &noise(10, 2));
    let options = [
        "create",
        "data",
        "-o",
        "x.torrent",
        "-t",
        "udp://a.example:1",
        "-t",
        "https://b.example/announce",
        "--web-seed",
        "https://w.example/",
        "--private",
        "--comment",
        "für uns",
        "--piece-length",
        "32K",
        "--date",
        "7",
    ];
    let link = done(&quelea(&folder, &options));
    let json = show(&folder, "x.torrent");
    assert_eq!(json["name"], "data");
    assert_eq!(json["piece_length"], 32_768);
    assert_eq!(json["private"], true);
    assert_eq!(json["comment"], "für uns");
    assert_eq!(json["creation_date"], 7);
    assert_eq!(json["created_by"], Value::Null);
    assert_eq!(json["trackers"], serde_json::json!([["udp://a.example:1"], ["https://b.example/announce"]]));
    assert_eq!(json["web_seeds"], serde_json::json!(["https://w.example/"]));
    assert_eq!(
        json["files"],
        serde_json::json!([{"path": "data/a/b", "length": 10}, {"path": "data/z", "length": 40_000}])
    );
    let hash = json["info_hash_v1"].as_str().unwrap();
    assert_eq!(
        link,
        format!(
            "magnet:?xt=urn:btih:{hash}&dn=data&tr=udp%3A%2F%2Fa.example%3A1\
             &tr=https%3A%2F%2Fb.example%2Fannounce&ws=https%3A%2F%2Fw.example%2F\n"
        )
    );
    assert_eq!(done(&quelea(&folder, &["magnet", "x.torrent"])), link);
    let text = done(&quelea(&folder, &["verify", "x.torrent"]));
    assert!(text.starts_with("data: 2 of 2 pieces and 2 of 2 files are good"), "{text}");
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let folder = album();
    let first = std::fs::read(folder.path().join("album.torrent")).unwrap();
    std::fs::rename(folder.path().join("album"), folder.path().join("old")).unwrap();
    for (file, (length, seed)) in
        [("c", (20_000, 3)), ("a", (24_000, 1)), ("empty", (0, 9)), ("b", (32_000, 2))]
    {
        put(&folder, &format!("album/{file}"), &noise(length, seed));
    }
    done(&quelea(&folder, &["create", "album/", "-q", "--piece-length", "16384", "-o", "again.torrent"]));
    assert_eq!(std::fs::read(folder.path().join("again.torrent")).unwrap(), first);
    let dated = ["create", "album", "--piece-length", "16K", "-o", "dated.torrent"];
    done(&command(&folder, &dated).env("SOURCE_DATE_EPOCH", "1000").output().unwrap());
    assert_eq!(show(&folder, "dated.torrent")["creation_date"], 1000);
}

#[test]
fn a_single_file_is_shared_without_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "film.mkv", &noise(100, 1));
    done(&quelea(&folder, &["create", "film.mkv"]));
    assert_eq!(
        show(&folder, "film.mkv.torrent")["files"],
        serde_json::json!([{"path": "film.mkv", "length": 100}])
    );
    done(&quelea(&folder, &["verify", "film.mkv.torrent", "-q"]));
    std::fs::remove_file(folder.path().join("film.mkv")).unwrap();
    assert_eq!(code(&quelea(&folder, &["verify", "film.mkv.torrent", "-q"])), 6);
}

#[test]
fn what_is_left_out_is_told() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "data/a", b"x");
    put(&folder, "data/.hidden", b"x");
    symlink("a", folder.path().join("data/link")).unwrap();
    let output = quelea(&folder, &["create", "data", "-o", "data/own.torrent"]);
    done(&output);
    assert!(stderr(&output).contains("data/.hidden: hidden\n"), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("data/link: a symbolic link to what is taken anyway\n"),
        "{}",
        stderr(&output)
    );
    let first = std::fs::read(folder.path().join("data/own.torrent")).unwrap();
    let again = quelea(&folder, &["create", "data", "-o", "data/own.torrent", "--force"]);
    assert!(stderr(&again).contains("own.torrent: the torrent file itself\n"), "{}", stderr(&again));
    assert_eq!(std::fs::read(folder.path().join("data/own.torrent")).unwrap(), first);
    let quiet = quelea(&folder, &["create", "data", "--hidden", "-q", "-o", "h.torrent"]);
    assert_eq!(stderr(&quiet), "");
    assert!(done(&quiet).starts_with("magnet:?"));
    assert_eq!(show(&folder, "h.torrent")["files"].as_array().unwrap().len(), 3);
}

#[test]
fn a_torrent_file_that_is_there_is_not_replaced_without_force() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "a", b"x");
    put(&folder, "a.torrent", b"theirs");
    let line = refusal(&quelea(&folder, &["create", "a"]), 4);
    assert_eq!(line, "quelea: \"a.torrent\" is there already; --force replaces it");
    assert_eq!(std::fs::read(folder.path().join("a.torrent")).unwrap(), b"theirs");
    done(&quelea(&folder, &["create", "a", "--force"]));
    assert_eq!(show(&folder, "a.torrent")["name"], "a");
    assert_eq!(names(folder.path()), ["a", "a.torrent"]);
}

#[test]
fn what_cannot_be_created_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "a", b"x");
    put(&folder, "void/empty", b"");
    let before = names(folder.path());
    for (arguments, status, words) in [
        (&["no/such"][..], 4, "No such file or directory"),
        (&["void"], 3, "no file has any bytes"),
        (&["a", "-t", "tracker.example"], 2, "is not a tracker's address"),
        (&["a", "--web-seed", "ftp://x/"], 2, "is not a web seed's address"),
        (&["/dev/null", "-o", "x"], 3, "neither a file nor a folder"),
        (&["a", "-o", "no/such/x.torrent"], 4, "No such file or directory"),
        (&["a", "-o", "void", "--force"], 4, "Is a directory"),
        (&["/"], 2, "name the torrent file with -o"),
    ] {
        let line = refusal(&quelea(&folder, &[&["create"], arguments].concat()), status);
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
    for arguments in [["--piece-length", "100K"], ["--piece-length", "1G"], ["--date", "soon"]] {
        assert_eq!(code(&quelea(&folder, &[&["create", "a"][..], &arguments].concat())), 2, "{arguments:?}");
    }
    assert_eq!(names(folder.path()), before);
}

#[test]
fn names_that_linux_takes_are_created_with_a_warning_verified_and_found_by_a_download() {
    let folder = tempfile::tempdir().unwrap();
    let paths =
        ["Mission: Possible?", "Vol. 1./a", "con.txt", "README", "readme", "end ", "pi|pe\"", "tab\t"];
    for (number, path) in paths.iter().enumerate() {
        put(&folder, &format!("Who? What/{path}"), &noise(20_000, number as u8));
    }
    let output = quelea(&folder, &["create", "Who? What", "-o", "x.torrent"]);
    done(&output);
    let told = stderr(&output);
    assert!(told.contains("warning: 8 files have names that Windows or macOS does not take"), "{told}");
    assert!(told.contains("Who? What/Vol. 1./a is Who_ What/Vol. 1/a where such a name can't be"), "{told}");

    let report = || -> Value {
        serde_json::from_slice(&quelea(&folder, &["verify", "x.torrent", "--json"]).stdout).unwrap()
    };
    let found = report();
    assert_eq!(found["complete"], true, "{found}");
    assert_eq!(found["files"][0]["path"], "Who_ What/Mission_ Possible_");
    assert_eq!(found["files"][0]["found_path"], "Who? What/Mission: Possible?");
    let before = names(&folder.path().join("Who? What"));
    for _ in 0..2 {
        let quiet = ["--no-dht", "--no-lsd", "--no-port-map", "--bind", "127.0.0.1", "--port", "0"];
        done(&quelea(&folder, &[&["x.torrent", "--state-dir", "state"][..], &quiet].concat()));
    }
    assert_eq!(names(&folder.path().join("Who? What")), before);
    assert!(!folder.path().join("Who_ What").exists());
    // The same content under the names that a cautious system gave it.
    std::fs::rename(folder.path().join("Who? What"), folder.path().join("aside")).unwrap();
    for file in found["files"].as_array().unwrap() {
        let from = file["found_path"].as_str().unwrap().replace("Who? What", "aside");
        let to = folder.path().join(file["path"].as_str().unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::rename(folder.path().join(from), to).unwrap();
    }
    assert_eq!(report()["complete"], true);
}

#[test]
fn a_whole_album_is_good() {
    let folder = album();
    let (report, code) = verify(&folder);
    assert_eq!(code, 0);
    assert_eq!(report["complete"], true);
    assert_eq!((&report["pieces"], &report["pieces_good"]), (&5.into(), &5.into()));
    assert_eq!(report["bad_pieces"], serde_json::json!([]));
    assert_eq!(report["name"], "album");
    assert_eq!(report["trouble"], Value::Null);
    assert_eq!(states(&report), ["good"; 4]);
}

#[test]
fn a_damaged_file_is_named_and_its_neighbours_are_cleared() {
    let folder = album();
    let mut bytes = noise(32_000, 2);
    bytes[15_000] ^= 1;
    put(&folder, "album/b", &bytes);
    let (report, code) = verify(&folder);
    assert_eq!(code, 6);
    assert_eq!(report["bad_pieces"], serde_json::json!([[2, 2]]));
    assert_eq!(report["files"][1]["pieces_good"], 2);
    assert_eq!(states(&report), ["good", "damaged", "good", "good"]);
    let output = quelea(&folder, &["verify", "album.torrent"]);
    let text = stdout(&output);
    assert!(text.contains("album: 4 of 5 pieces and 3 of 4 files are good"), "{text}");
    assert!(text.contains("  2  31.2 KiB  damaged     album/b  (1 of 3 pieces bad)\n"), "{text}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn files_beside_a_missing_one_are_unproven() {
    let folder = album();
    std::fs::remove_file(folder.path().join("album/b")).unwrap();
    std::fs::remove_file(folder.path().join("album/empty")).unwrap();
    let (report, code) = verify(&folder);
    assert_eq!(code, 6);
    assert_eq!(report["bad_pieces"], serde_json::json!([[1, 3]]));
    assert_eq!(states(&report), ["unproven", "missing", "unproven", "missing"]);
}

#[test]
fn a_bad_piece_that_nothing_explains_is_held_against_all_who_share_it() {
    let folder = album();
    let mut bytes = noise(24_000, 1);
    bytes[23_999] ^= 1;
    put(&folder, "album/a", &bytes);
    let (report, _) = verify(&folder);
    assert_eq!(states(&report), ["damaged", "damaged", "good", "good"]);
}

#[test]
fn short_and_long_files_are_told_with_what_is_there() {
    let folder = album();
    put(&folder, "album/a", &noise(23_999, 1));
    put(&folder, "album/c", &[noise(20_000, 3), vec![0]].concat());
    put(&folder, "album/empty", b"x");
    let (report, code) = verify(&folder);
    assert_eq!(code, 6);
    assert_eq!(states(&report), ["short", "unproven", "long", "long"]);
    assert_eq!(report["files"][0]["found_length"], 23_999);
    assert_eq!(report["files"][2]["found_length"], 20_001);
    assert_eq!(report["bad_pieces"], serde_json::json!([[1, 1]]));
}

#[test]
fn what_is_no_file_is_told_and_a_link_to_one_is_followed() {
    let folder = album();
    std::fs::rename(folder.path().join("album/a"), folder.path().join("elsewhere")).unwrap();
    symlink("../elsewhere", folder.path().join("album/a")).unwrap();
    std::fs::remove_file(folder.path().join("album/c")).unwrap();
    std::fs::create_dir(folder.path().join("album/c")).unwrap();
    let (report, code) = verify(&folder);
    assert_eq!(code, 6);
    assert_eq!(states(&report), ["good", "unproven", "not-a-file", "good"]);
}

#[test]
fn a_directory_without_the_torrent_has_nothing_of_it() {
    let folder = album();
    let output = quelea(&folder, &["verify", "album.torrent", "-o", "no/such"]);
    assert_eq!(code(&output), 6);
    assert!(stdout(&output).starts_with("no/such/album: 0 of 5 pieces and 0 of 4 files are good"));
    assert!(!folder.path().join("no").exists());
}

#[test]
fn verify_changes_nothing() {
    let folder = album();
    std::fs::remove_file(folder.path().join("album/empty")).unwrap();
    put(&folder, "album/b", b"short");
    let before = (names(folder.path()), names(&folder.path().join("album")));
    verify(&folder);
    assert_eq!((names(folder.path()), names(&folder.path().join("album"))), before);
    assert_eq!(std::fs::read(folder.path().join("album/b")).unwrap(), b"short");
}

#[test]
fn long_lists_show_what_is_not_good_unless_all_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..300 {
        put(&folder, &format!("many/{number:03}"), &[number as u8]);
    }
    done(&quelea(&folder, &["create", "many"]));
    let lines = |arguments: &[&str]| {
        stdout(&quelea(&folder, &[&["verify", "many.torrent"], arguments].concat())).lines().count()
    };
    assert_eq!(lines(&[]), 2);
    assert_eq!(lines(&["--all"]), 301);
    assert_eq!(lines(&["-o", "elsewhere"]), 202);
    assert_eq!(lines(&["-q"]), 0);
}

#[test]
fn what_cannot_be_verified_or_linked_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "bad.torrent", b"i0e");
    let magnet = "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567";
    for (arguments, status) in [
        (["verify", "bad.torrent"], 3),
        (["verify", "no.torrent"], 4),
        (["magnet", "bad.torrent"], 3),
        (["magnet", "no.torrent"], 4),
        (["magnet", magnet], 2),
    ] {
        refusal(&quelea(&folder, &arguments), status);
    }
}

#[test]
fn a_torrent_is_called_what_the_user_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/a"), "content").unwrap();
    std::fs::write(folder.path().join("single"), "content").unwrap();
    for (path, files) in [("data", "My album/a"), ("single", "My album")] {
        done(&quelea(&folder, &["create", path, "--name", "My album", "-f"]));
        let shown = done(&quelea(&folder, &["show", "--json", "My album.torrent"]));
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&shown["name"], &shown["files"][0]["path"]), (&"My album".into(), &files.into()));
    }
    let refused = refusal(&quelea(&folder, &["create", "data", "--name", "../a"]), 2);
    assert!(refused.contains("without a folder"), "{refused}");
}

//! Symbolic links and executable files that a torrent has (BEP 47).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

#[allow(dead_code)]
mod made;

use made::{add, bytes, write};
use quelea::verify::{FileState, verify};
use quelea::{Event, Existing, Session, Settings};
use quelea_bencode::Item;
use quelea_metainfo::Metainfo;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A program, a link to its folder, one to itself in a folder of its own, and two that lead out.
fn torrent(program: &[u8]) -> Vec<u8> {
    let list = |path: &str| Item::from(path.split('/').map(Item::from).collect::<Vec<_>>());
    let link = |path: &str, target: &str| {
        let attr = ("attr", Item::from("l"));
        Item::dict([attr, ("length", Item::from(0)), ("path", list(path)), ("symlink path", list(target))])
    };
    let file = Item::dict([
        ("attr", Item::from("x")),
        ("length", Item::from(program.len() as i64)),
        ("path", list("A/run")),
    ]);
    let files = vec![
        file,
        link("now", "A"),
        link("bin/run", "A/run"),
        link("out", "../../etc"),
        link("taken", "A/run"),
    ];
    let pieces: Vec<u8> = program.chunks(16_384).flat_map(quelea_digest::sha1).collect();
    let info = Item::dict([
        ("files", Item::from(files)),
        ("name", Item::from("fw")),
        ("piece length", Item::from(16_384)),
        ("pieces", Item::from(pieces)),
    ]);
    Item::dict([("info", info)]).encode()
}

fn session(directory: &Path) -> Session {
    let mut settings = Settings::new(directory);
    settings.port = 0;
    settings.bind = vec!["127.0.0.1".parse().unwrap()];
    Session::start(settings).unwrap()
}

async fn complete(
    torrent: &[u8],
    seed: &Session,
    directory: &Path,
) -> (Session, quelea::Torrent, Vec<String>) {
    let session = session(directory);
    let mut events = session.events();
    let mut wished = add(torrent);
    wished.peers = vec![SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port())];
    let added = session.add(wished).await.unwrap();
    let mut warnings = Vec::new();
    loop {
        match events.next().await.unwrap() {
            Event::Completed(_) => return (session, added, warnings),
            Event::Warning(message) => warnings.push(message),
            _ => {}
        }
    }
}

#[test]
fn links_and_executable_files_are_made_verified_moved_and_removed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test()).await.expect("in time") });
}

async fn test() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to, new) =
        (folder.path().join("seed"), folder.path().join("leech"), folder.path().join("new"));
    let program = bytes(50_000, 1);
    let torrent = torrent(&program);
    write(&from, "fw", &[("A/run", program)]);
    let seed = session(&from);
    seed.add(add(&torrent)).await.unwrap();
    std::fs::create_dir_all(to.join("fw")).unwrap();
    std::fs::write(to.join("fw/taken"), "theirs").unwrap();

    let (session, added, warnings) = complete(&torrent, &seed, &to).await;
    let text = |root: &Path, path: &str| std::fs::read_link(root.join("fw").join(path)).unwrap();
    assert_eq!((text(&to, "now"), text(&to, "bin/run")), ("A".into(), "../A/run".into()));
    assert!(to.join("fw/out").symlink_metadata().is_err());
    assert_eq!(std::fs::read(to.join("fw/taken")).unwrap(), b"theirs");
    assert!(warnings.iter().any(|warning| warning.contains("fw/taken")), "{warnings:?}");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    std::fs::write(to.join("plain"), "").unwrap();
    let plain = mode(&to.join("plain"));
    assert_eq!(mode(&to.join("fw/A/run")), plain | (plain & 0o444) >> 2);
    assert_eq!(mode(&to.join("fw/taken")), plain);

    let info = Arc::new(Metainfo::parse(&torrent).unwrap().info);
    let states = |root: &Path| -> Vec<FileState> {
        let verified = verify(&info, root, |_| ControlFlow::Continue(())).unwrap().unwrap();
        verified.files.into_iter().map(|file| file.state).collect()
    };
    use FileState::{Good, LeadsElsewhere, Missing, NotALink};
    assert_eq!(states(&to), [Good, Good, Good, NotALink]);

    added.move_to(&new, Existing::Refuse).outcome().await.unwrap();
    assert_eq!((text(&new, "now"), text(&new, "bin/run")), ("A".into(), "../A/run".into()));
    assert!(to.join("fw/now").symlink_metadata().is_err() && !to.join("fw/bin").exists());
    assert_eq!(states(&new), [Good, Good, Good, Missing]);
    std::fs::remove_file(new.join("fw/now")).unwrap();
    std::os::unix::fs::symlink("..", new.join("fw/now")).unwrap();
    assert_eq!(states(&new), [Good, LeadsElsewhere("..".into()), Good, Missing]);

    added.remove(true).await.unwrap();
    assert!(new.join("fw/now").symlink_metadata().is_ok(), "it is the user's");
    assert!(!new.join("fw/bin").exists() && !new.join("fw/A").exists());
    session.close().await;
    seed.close().await;
}

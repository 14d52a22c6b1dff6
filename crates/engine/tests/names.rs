//! Files have the names that their torrent's author gave them, or cleaned ones, and keep what they began with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::{Existing, NameStyle, Session, Settings, Torrent};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
const NATIVE: [&str; 2] = ["Who? What/Vol. 1./a:b", "Who? What/plain"];
const PORTABLE: [&str; 2] = ["Who_ What/Vol. 1/a_b", "Who_ What/plain"];

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("Vol. 1./a:b", bytes(50_000, 1)), ("plain", bytes(30_000, 2))]
}

fn session(folder: &Path, names: NameStyle) -> Session {
    let mut settings = Settings::new(folder.join("out"));
    settings.port = 0;
    settings.bind = vec!["127.0.0.1".parse().unwrap()];
    settings.state_dir = Some(folder.join("state"));
    settings.names = names;
    Session::start(settings).unwrap()
}

async fn paths(torrent: &Torrent) -> Vec<PathBuf> {
    torrent.placement().await.unwrap().paths
}

#[test]
fn a_torrent_keeps_the_names_that_it_began_with_wherever_it_goes() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let torrent = torrent("Who? What", &files(), 16_384);
        for (began, later, expected) in [
            (NameStyle::Native, NameStyle::Portable, NATIVE),
            (NameStyle::Portable, NameStyle::Native, PORTABLE),
        ] {
            let folder = folder.path().join(expected[0].replace('/', "-"));
            std::fs::create_dir(&folder).unwrap();
            let first = session(&folder, began);
            let added = first.add(add(&torrent)).await.unwrap();
            assert_eq!(paths(&added).await, expected.map(PathBuf::from));
            first.close().await;
            let second = session(&folder, later);
            let added = second.add(add(&torrent)).await.unwrap();
            assert_eq!(paths(&added).await, expected.map(PathBuf::from));
            added.move_to(folder.join("elsewhere"), Existing::Refuse).outcome().await.unwrap();
            second.close().await;
            let third = session(&folder, later);
            let added = third.add(add(&torrent)).await.unwrap();
            let place = added.placement().await.unwrap();
            assert_eq!(place.paths, expected.map(PathBuf::from));
            assert!(place.directory.ends_with("elsewhere"));
            third.close().await;
        }
    });
}

#[test]
fn what_lies_under_the_authors_names_is_seeded_and_removed_with_the_torrent() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let torrent = torrent("Who? What", &files(), 16_384);
        let out = folder.path().join("out");
        write(&out, "Who? What", &files());
        std::fs::write(out.join("Who? What/theirs"), "theirs").unwrap();
        let session = session(folder.path(), NameStyle::Portable);
        let added = session.add(add(&torrent)).await.unwrap();
        assert_eq!(added.snapshot().wanted_have, 80_000);
        assert_eq!(paths(&added).await, NATIVE.map(PathBuf::from));
        added.remove(true).await.unwrap();
        assert!(NATIVE.iter().all(|path| !out.join(path).exists()));
        assert!(out.join("Who? What/theirs").exists() && !out.join("Who? What/Vol. 1.").exists());
        session.close().await;
    });
}

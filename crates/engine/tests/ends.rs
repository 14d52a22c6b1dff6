//! Ends come soon, whatever goes on: data that would take hours to check are checked no further.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "patience with real disks is measured in real time")]

mod made;

use made::{add, bytes, torrent, write};
use quelea::{Event, Events, Session, Settings, State};
use quelea_bencode::Item;
use std::path::Path;
use std::time::Duration;

/// Far more than an end takes on a slow machine, and far less than the check.
const PATIENCE: Duration = Duration::from_secs(120);
const PIECE: usize = 4 << 20;
/// A terabyte.
const PIECES: usize = 1 << 18;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// A torrent of nothing but zeros, which lies in a hole.
fn endless(directory: &Path) -> Vec<u8> {
    std::fs::create_dir_all(directory).unwrap();
    let file = std::fs::File::create(directory.join("zeros")).unwrap();
    file.set_len((PIECE * PIECES) as u64).unwrap();
    let pieces = quelea_digest::sha1(&vec![0; PIECE]).repeat(PIECES);
    let info = Item::dict([
        ("length", Item::from((PIECE * PIECES) as i64)),
        ("name", Item::from("zeros")),
        ("piece length", Item::from(PIECE as i64)),
        ("pieces", Item::from(pieces)),
    ]);
    Item::dict([("info", info)]).encode()
}

fn session(folder: &Path) -> Session {
    let mut settings = Settings::new(folder.join("out"));
    settings.port = 0;
    settings.bind = vec!["127.0.0.1".parse().unwrap()];
    settings.state_dir = Some(folder.join("state"));
    Session::start(settings).unwrap()
}

/// Waits until more than so many pieces were looked at: how many.
async fn checked(events: &mut Events, more_than: u32) -> u32 {
    loop {
        if let Event::Progress(_, snapshot) = events.next().await.unwrap()
            && snapshot.state == State::Checking
            && snapshot.pieces_checked > more_than
        {
            return snapshot.pieces_checked;
        }
    }
}

#[test]
fn a_session_that_checks_closes_and_the_next_one_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let torrent = endless(&folder.path().join("out"));
    run(async {
        let first = session(folder.path());
        let mut events = first.events();
        let adding = tokio::spawn({
            let (session, torrent) = (first.clone(), add(&torrent));
            async move { session.add(torrent).await.map(drop) }
        });
        let before = checked(&mut events, 0).await;
        first.close().await;
        let _ = adding.await.unwrap();
        drop(first);

        let second = session(folder.path());
        let mut events = second.events();
        let adding = tokio::spawn({
            let (session, torrent) = (second.clone(), add(&torrent));
            async move { session.add(torrent).await.map(drop) }
        });
        let after = checked(&mut events, 0).await;
        assert!(after >= before, "{after} follows {before}");
        second.close().await;
        let _ = adding.await.unwrap();
    });
}

#[test]
fn a_torrent_that_is_checked_can_be_paused_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let torrent = endless(&folder.path().join("out"));
    run(async {
        let session = session(folder.path());
        let mut events = session.events();
        let adding = tokio::spawn({
            let (session, torrent) = (session.clone(), add(&torrent));
            async move { session.add(torrent).await.map(drop) }
        });
        checked(&mut events, 0).await;
        let added = session.torrents().pop().unwrap();
        added.pause().await.unwrap();
        assert_eq!(added.snapshot().state, State::Paused);
        added.resume().await.unwrap();
        checked(&mut events, 0).await;
        added.remove(false).await.unwrap();
        assert!(session.torrents().is_empty());
        let _ = adding.await.unwrap();
        session.close().await;
    });
}

#[test]
fn what_was_there_is_told_once_however_often_a_torrent_starts() {
    let folder = tempfile::tempdir().unwrap();
    let files = [("a", bytes(100_000, 1))];
    write(&folder.path().join("out"), "folder", &files);
    let torrent = torrent("folder", &files, 32_768);
    run(async {
        let session = session(folder.path());
        let mut events = session.events();
        let added = session.add(add(&torrent)).await.unwrap();
        for _ in 0..3 {
            added.pause().await.unwrap();
            added.resume().await.unwrap();
        }
        session.close().await;
        let mut told = 0;
        while let Some(event) = events.next().await {
            told += usize::from(matches!(event, Event::Checked { good: 4, pieces: 4, .. }));
        }
        assert_eq!(told, 1);
    });
}

//! How much is left, as trackers hear it (BEP 3, "left"; BEP 21).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::{Session, Settings, State, Torrent};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
const LENGTH: usize = 100_000;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

fn session(directory: &Path) -> Session {
    let mut settings = Settings::new(directory);
    settings.port = 0;
    settings.bind = vec!["127.0.0.1".parse().unwrap()];
    Session::start(settings).unwrap()
}

/// A tracker that passes on the event and the `left` of each announce.
async fn tracker() -> (String, mpsc::Receiver<(String, u64)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let (heard, hears) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let value = |key: &str| {
                let (_, after) = request.split_once(&format!("{key}="))?;
                after.split(['&', ' ']).next().map(str::to_owned)
            };
            let left = value("left").unwrap().parse().unwrap();
            heard.send((value("event").unwrap_or_default(), left)).await.unwrap();
            let body = "d8:intervali1800e12:min intervali60e5:peers0:e";
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
            let answer = format!("{head} {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, hears)
}

fn files() -> [(&'static str, Vec<u8>); 2] {
    [("a", bytes(LENGTH, 1)), ("b", bytes(LENGTH, 2))]
}

async fn seeds(torrent: &Torrent) {
    while torrent.snapshot().state != State::Seeding {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_torrent_of_which_a_part_was_downloaded_is_not_told_as_complete() {
    run(async {
        let (seed_dir, leech_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let torrent = torrent("files", &files(), LENGTH / 4);
        write(seed_dir.path(), "files", &files());
        let (seed, leech) = (session(seed_dir.path()), session(leech_dir.path()));
        seed.add(add(&torrent)).await.unwrap();
        let (url, mut heard) = tracker().await;
        let mut adding = add(&torrent);
        adding.metainfo.trackers = vec![vec![url]];
        adding.peers = vec![SocketAddr::new("127.0.0.1".parse().unwrap(), seed.port())];
        adding.wanted = Some(vec![true, false]);
        let leeched = leech.add(adding).await.unwrap();
        assert_eq!(heard.recv().await.unwrap(), ("started".to_owned(), 2 * LENGTH as u64));
        seeds(&leeched).await;
        leech.close().await;
        // Nothing between the beginning and the end: a part is not the whole.
        assert_eq!(heard.recv().await.unwrap(), ("stopped".to_owned(), LENGTH as u64));
        seed.close().await;
    });
}

#[test]
fn a_torrent_that_was_there_in_part_announces_as_a_partial_seed() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let torrent = torrent("files", &files(), LENGTH / 4);
        write(folder.path(), "files", &files()[..1]);
        let session = session(folder.path());
        let (url, mut heard) = tracker().await;
        let mut adding = add(&torrent);
        adding.metainfo.trackers = vec![vec![url]];
        adding.wanted = Some(vec![true, false]);
        let added = session.add(adding).await.unwrap();
        assert_eq!(heard.recv().await.unwrap(), ("started".to_owned(), LENGTH as u64));
        seeds(&added).await;
        // A person may ask again a few seconds after the last time.
        loop {
            assert!(added.reannounce());
            if let Ok(Some(next)) = tokio::time::timeout(Duration::from_secs(2), heard.recv()).await {
                assert_eq!(next, ("paused".to_owned(), LENGTH as u64));
                break;
            }
        }
        session.close().await;
        assert_eq!(heard.recv().await.unwrap(), ("stopped".to_owned(), LENGTH as u64));
    });
}

//! What a session tells of its trackers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[allow(dead_code, reason = "nothing is written here")]
mod made;

use made::{add, bytes, torrent};
use quelea::{Event, Session, Settings};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Far more than this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Gives the same answer to everyone.
async fn answer_all(listener: TcpListener, body: &'static [u8]) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
    }
}

#[test]
fn an_answer_of_a_tracker_is_told_with_the_number_of_its_peers() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let announce = format!("http://{}/announce", listener.local_addr().unwrap());
        // Two peers at port 9 of our own host, where nobody listens.
        let body = b"d8:intervali1800e5:peers12:\x7f\x00\x00\x02\x00\x09\x7f\x00\x00\x03\x00\x09e";
        tokio::spawn(answer_all(listener, body));
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(folder.path());
        settings.port = 0;
        settings.bind = vec!["127.0.0.1".parse().unwrap()];
        let session = Session::start(settings).unwrap();
        let mut events = session.events();
        let mut adding = add(&torrent("file", &[("", bytes(100_000, 1))], 65_536));
        adding.metainfo.trackers = vec![vec![announce.clone()]];
        let _torrent = session.add(adding).await.unwrap();
        loop {
            if let Event::TrackerAnswered { url, peers, .. } =
                events.next().await.expect("a session that runs")
            {
                assert_eq!((url, peers), (announce, 2));
                break;
            }
        }
        session.close().await;
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

//! Answers of HTTP trackers as the field gives them: what can be read without doubt is, whatever is odd about it.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod hostile;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use hostile::tracker::{Tracker, answer, compact, with_head};
use hostile::{World, run, until};
use quelea::TrackerState;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where the peer is that each answer names; nobody listens there.
const PEER: &str = "127.0.77.7:7777";

fn body() -> Vec<u8> {
    answer(&compact([PEER.parse().unwrap()]))
}

/// A head of these lines, and a body.
fn headed(lines: &[&str], body: &[u8]) -> Vec<u8> {
    [(lines.join("\r\n") + "\r\n\r\n").as_bytes(), body].concat()
}

/// An answer whose head has one more line.
fn with_line(line: &str) -> Vec<u8> {
    headed(&["HTTP/1.1 200 OK", line, &format!("Content-Length: {}", body().len())], &body())
}

fn chunked(body: &[u8], extension: &str, trailer: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in body.chunks(7) {
        bytes.extend(format!("{:X}{extension}\r\n", part.len()).into_bytes());
        bytes.extend(part);
        bytes.extend(b"\r\n");
    }
    bytes.extend(format!("0\r\n{trailer}\r\n").into_bytes());
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Asks one tracker for each answer, all of one torrent, until each has answered or failed. What came of each, with the
/// number of peers it named.
async fn outcomes(answers: impl IntoIterator<Item = Vec<u8>>) -> Vec<Result<usize, String>> {
    let mut trackers = Vec::new();
    for answer in answers {
        trackers.push(Tracker::raw(answer).await);
    }
    let tiers = trackers.iter().map(|tracker| vec![tracker.url.clone()]).collect();
    let world = World::with(100_000, 32_768, |adding| adding.metainfo.trackers = tiers).await;
    let outcomes = || {
        let snapshot = world.torrent.snapshot();
        let outcome = |tracker: &Tracker| {
            let status = snapshot.trackers.iter().find(|status| status.url == tracker.url)?;
            match &status.state {
                TrackerState::Working => Some(Ok(status.peers)),
                TrackerState::Failed(reason) => Some(Err(reason.clone())),
                _ => None,
            }
        };
        trackers.iter().map(outcome).collect::<Option<Vec<_>>>()
    };
    until(|| outcomes().is_some()).await;
    let outcomes = outcomes().unwrap();
    world.session.close().await;
    outcomes
}

/// Each of these answers names one peer.
async fn are_read(answers: &[(&str, Vec<u8>)]) {
    let outcomes = outcomes(answers.iter().map(|(_, answer)| answer.clone())).await;
    for ((name, _), outcome) in answers.iter().zip(outcomes) {
        assert_eq!(outcome, Ok(1), "{name}");
    }
}

#[test]
fn bodies_are_read_however_they_are_packed() {
    let packed = |bytes: Vec<u8>, encoding: &str| {
        headed(&["HTTP/1.1 200 OK", encoding, &format!("Content-Length: {}", bytes.len())], &bytes)
    };
    run(async {
        are_read(&[
            ("gzip", packed(gzip(&body()), "Content-Encoding: gzip")),
            ("gzip unsaid", packed(gzip(&body()), "Content-Type: text/plain")),
            ("gzip said and not done", packed(body(), "Content-Encoding: gzip")),
            (
                "gzip in chunks",
                headed(
                    &["HTTP/1.1 200 OK", "Content-Encoding: gzip", "Transfer-Encoding: chunked"],
                    &chunked(&gzip(&body()), "", ""),
                ),
            ),
            (
                "gzip cut in its checksum",
                packed(
                    gzip(&body()).into_iter().rev().skip(3).collect::<Vec<_>>().into_iter().rev().collect(),
                    "Content-Encoding: gzip",
                ),
            ),
            ("zlib", packed(zlib(&body()), "Content-Encoding: deflate")),
            ("zlib unsaid", packed(zlib(&body()), "Content-Type: text/plain")),
            ("deflate", packed(deflate(&body()), "Content-Encoding: deflate")),
        ])
        .await;
    });
}

#[test]
fn bodies_that_end_early_or_late_are_read_if_they_are_whole() {
    let length = body().len();
    let longer = format!("Content-Length: {}", length + 9);
    run(async {
        are_read(&[
            ("length too large", headed(&["HTTP/1.1 200 OK", &longer], &body())),
            ("no length", headed(&["HTTP/1.0 200 OK"], &body())),
            (
                "chunks without end",
                headed(
                    &["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"],
                    chunked(&body(), "", "").strip_suffix(b"0\r\n\r\n").unwrap(),
                ),
            ),
            (
                "chunks with extensions",
                headed(
                    &["HTTP/1.1 200 OK", "transfer-encoding:  Chunked"],
                    &chunked(&body(), ";x=1", "X: y\r\n"),
                ),
            ),
            ("rubbish behind", with_head(&[&body()[..], b"\r\n<!-- served in 0.1 s -->"].concat())),
            ("white space before", with_head(&[b"\r\n ", &body()[..]].concat())),
            ("a byte order mark before", with_head(&[b"\xef\xbb\xbf", &body()[..]].concat())),
        ])
        .await;
        let cut = &body()[..length - 1];
        let cut = [
            headed(&["HTTP/1.1 200 OK", &longer], cut),
            headed(&["HTTP/1.1 200 OK"], cut),
            headed(&["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"], &chunked(cut, "", "")),
            with_head(&gzip(cut)),
        ];
        for outcome in outcomes(cut).await {
            assert!(outcome.as_ref().is_err_and(|reason| reason.contains("can't be read")), "{outcome:?}");
        }
    });
}

#[test]
fn heads_are_read_however_they_are_written() {
    let length = format!("Content-Length: {}", body().len());
    let many: Vec<String> = (0..150).map(|number| format!("X-{number}: {number}")).collect();
    let mut crowded = vec!["HTTP/1.1 200 OK", &*length];
    crowded.extend(many.iter().map(String::as_str));
    run(async {
        are_read(&[
            ("folded", with_line("X-A: b\r\n c")),
            ("a space before the colon", with_line("X-A : b")),
            ("no colon", with_line("Nonsense")),
            ("no reason", headed(&["HTTP/1.1 200", &length], &body())),
            ("a long line", with_line(&format!("Set-Cookie: a={}", "x".repeat(20_000)))),
            ("150 lines", headed(&crowded, &body())),
            ("line feeds alone", [format!("HTTP/1.1 200 OK\n{length}\n\n").as_bytes(), &body()].concat()),
            ("continue first", [b"HTTP/1.1 100 Continue\r\n\r\n", &with_head(&body())[..]].concat()),
        ])
        .await;
    });
}

#[test]
fn numbers_and_keys_are_read_however_they_are_written() {
    let peers = "5:peers6:\x7f\x00\x4d\x07\x1e\x61e";
    let with = |beginning: &str| with_head(format!("{beginning}{peers}").as_bytes());
    run(async {
        are_read(&[
            ("repeated key", with("d8:intervali1800e8:intervali60e")),
            ("leading zero", with("d8:intervali01800e")),
            ("fraction", with("d8:intervali1800.0e")),
            ("string", with("d8:interval4:1800")),
            ("negative", with("d8:completei-1e8:intervali-5e12:min intervali-0e")),
            ("huge", with("d8:intervali4611686018427387904e")),
            ("none", with("d")),
            ("port as a string", with_head(b"d5:peersld2:ip10:127.0.77.74:port4:7777eee")),
            ("mapped", with_head(b"d5:peersld2:ip17:::ffff:127.0.77.74:porti7777eeee")),
        ])
        .await;
    });
}

#[test]
fn refusals_give_the_trackers_words_whatever_the_status() {
    let refusal = b"d14:failure reason12:gone fishinge";
    let length = format!("Content-Length: {}", refusal.len());
    run(async {
        let refused = outcomes(
            ["200 OK", "404 Not Found", "503 Busy"]
                .map(|status| headed(&[&format!("HTTP/1.1 {status}"), &length], refusal)),
        );
        assert_eq!(refused.await, vec![Err("it refuses: gone fishing".to_owned()); 3]);
        let without = outcomes([
            headed(&["HTTP/1.1 503 Busy", "Content-Length: 0"], b""),
            headed(&["HTTP/1.1 204 No Content"], b""),
            with_head(b"<html>503</html>"),
        ]);
        let without: Vec<String> = without.await.into_iter().map(Result::unwrap_err).collect();
        assert_eq!(without[0], "it answers with HTTP status 503");
        assert!(without[1..].iter().all(|reason| reason.contains("can't be read")), "{without:?}");
    });
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_not_there() {
    run(async {
        // A server of HTTP does not wait for the end of what is none.
        let server = tokio::net::TcpListener::bind("127.0.2.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                let _ = stream.read_u8().await;
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
                // Closing with bytes unread would take back what was written.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let tiers = vec![vec![format!("https://{at}/announce")]];
        let world = World::with(100_000, 32_768, |adding| adding.metainfo.trackers = tiers).await;
        let failed = || match &world.torrent.snapshot().trackers.first()?.state {
            TrackerState::Failed(reason) => Some(reason.clone()),
            _ => None,
        };
        until(|| failed().is_some()).await;
        let reason = failed().unwrap();
        assert!(reason.contains("the server does not speak TLS at this port; try http://"), "{reason}");
        world.session.close().await;
    });
}

#[test]
fn nothing_of_an_announce_goes_to_where_it_is_redirected() {
    run(async {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let there = {
            let heard = Arc::clone(&heard);
            Tracker::http(move |mut asked| {
                heard.lock().unwrap().push(asked.head.clone());
                async move { asked.say(&with_head(&body())).await }
            })
            .await
        };
        let to = there.url.replace("/announce", "/there");
        let tracker =
            Tracker::raw(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n").into_bytes()).await;
        let secret = format!("{}?passkey=topsecret", tracker.url);
        let tiers = vec![vec![secret.replace("http://", "http://user:word@")]];
        let world = World::with(100_000, 32_768, |adding| adding.metainfo.trackers = tiers).await;
        let works = || {
            let snapshot = world.torrent.snapshot();
            snapshot.trackers.first().is_some_and(|tracker| tracker.state == TrackerState::Working)
        };
        until(works).await;
        world.session.close().await;
        let heads = heard.lock().unwrap().clone();
        assert!(heads[0].starts_with("GET /there HTTP/1.1\r\n"), "{heads:?}");
        for secret in ["topsecret", "info_hash", "announce", "authorization", "cookie", "referer"] {
            assert!(!heads[0].to_ascii_lowercase().contains(secret), "{secret}: {heads:?}");
        }
    });
}

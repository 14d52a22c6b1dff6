//! HTTPS servers that close the connection without TLS's goodbye (`close_notify`) and without having said how long the
//! answer is, as many do: RFC 8446, section 6.1, takes that for an attack that cuts answers short.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(unix)]

mod support;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use support::{Bed, Leech, Seed};

/// A server on loopback whose connections end without a goodbye.
struct Server {
    at: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each request with this body.
    fn start(body: Vec<u8>) -> Self {
        let certificate = CertificateDer::from_pem_file(own_certificate()).unwrap();
        let key = PrivateKeyDer::from_pem_file(own_certificate().with_file_name("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config =
            versions.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counting = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                if answer(StreamOwned::new(connection, stream), &body).is_ok() {
                    counting.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { at, asked }
    }

    fn url(&self) -> String {
        format!("https://{}/announce", self.at)
    }

    /// How many requests were answered.
    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>, body: &[u8]) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    stream.write_all(&[b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", body].concat())?;
    stream.flush()?;
    stream.sock.shutdown(Shutdown::Write)?;
    // Closing with bytes unread would take back what was written.
    stream.sock.read_to_end(&mut Vec::new()).map(|_| ())
}

/// The server's certificate, for 127.0.0.1, which it signed itself; its key stands beside it.
fn own_certificate() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/certificate.pem")
}

/// Has a program trust the server, and nobody else.
fn trust(command: &mut Command) {
    command.env("SSL_CERT_FILE", own_certificate()).env_remove("SSL_CERT_DIR");
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
}

fn bed() -> Bed {
    Bed::new("name", 16 * 1024, &[("a", 50_000)])
}

#[test]
fn a_torrent_that_is_whole_is_taken_though_tls_ends_without_a_goodbye() {
    let bed = bed();
    let server = Server::start(std::fs::read(bed.torrent()).unwrap());
    let mut command = bed.quelea();
    trust(&mut command);
    let output = command.args(["show", &server.url()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.starts_with(b"name\n"), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(server.asked(), 1);
}

#[test]
fn a_torrent_that_is_cut_where_tls_ends_without_a_goodbye_is_refused() {
    let bed = bed();
    let torrent = std::fs::read(bed.torrent()).unwrap();
    let server = Server::start(torrent[..torrent.len() - 1].to_vec());
    let mut command = bed.quelea();
    trust(&mut command);
    let output = command.args(["show", &server.url()]).output().unwrap();
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{line}");
    assert!(line.contains("cannot fetch"), "{line}");
    assert_eq!(server.asked(), 1);
}

#[test]
fn a_tracker_whose_tls_ends_without_a_goodbye_is_heard() {
    let bed = bed();
    let seed = Seed::start(&bed);
    let peer: std::net::SocketAddrV4 = seed.address.parse().unwrap();
    let named = [&peer.ip().octets()[..], &peer.port().to_be_bytes()].concat();
    let tracker = Server::start([b"d8:intervali1800e5:peers6:", &named[..], b"e"].concat());
    let to = bed.path("out");
    let mut command = bed.quelea();
    trust(&mut command);
    command.arg(bed.torrent()).arg("-o").arg(&to).args(["-p", "0", "--bind", "127.0.0.1", "--json"]);
    command.args(["--state-dir", "none", "--add-tracker", &tracker.url()]);
    let mut leech = Leech::start(command);
    assert_eq!(leech.wait(), Some(0), "{:#?}", leech.told);
    assert!(bed.differences(&to).is_empty());
    assert!(tracker.asked() > 0);
}

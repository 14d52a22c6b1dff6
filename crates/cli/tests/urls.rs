//! Torrents by URL: what is sent with it, what servers answer, and where they lead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

const HASH: &str = "0123456789012345678901234567890123456789";

/// A torrent of one file named `name` of ten bytes.
fn torrent(name: &str) -> Vec<u8> {
    format!(
        "d4:infod6:lengthi10e4:name{}:{name}12:piece lengthi16384e6:pieces20:xxxxxxxxxxxxxxxxxxxxee",
        name.len()
    )
    .into_bytes()
}

/// Answers every request by what `script` makes of its path, and keeps the heads of all, until the test ends.
struct Server {
    at: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn at(address: &str, script: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let (at, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that has seen enough closes.
                let _ = converse(stream, &heard, &script);
            }
        });
        Self { at, heads }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn converse(
    mut stream: TcpStream,
    heard: &Mutex<Vec<String>>,
    script: impl Fn(&str) -> Vec<u8>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    // What is no HTTP is answered at once, as servers do.
    while !head.ends_with(b"\r\n\r\n") && head.first().is_none_or(u8::is_ascii_uppercase) {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let answer = script(head.split(' ').nth(1).unwrap_or_default());
    heard.lock().unwrap().push(head);
    stream.write_all(&answer)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // Closing with bytes unread would take back what was written.
    stream.read_to_end(&mut Vec::new()).map(|_| ())
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn to(location: &str) -> Vec<u8> {
    answer(&format!("302 Found\r\nLocation: {location}"), b"")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn quelea(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
    // What the tester's own shell says must not decide.
    for (name, _) in std::env::vars_os() {
        let lower = name.to_string_lossy().to_lowercase();
        if lower.starts_with("quelea_") || lower.ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).env("XDG_CONFIG_HOME", "/nonexistent").output().unwrap()
}

fn shown(arguments: &[&str]) -> String {
    let output = quelea(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refusal(arguments: &[&str], code: i32) -> String {
    let output = quelea(arguments);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}");
    line
}

#[test]
fn a_torrent_is_read_however_its_server_sends_it() {
    let server = Server::at("127.0.0.1", |path| match path {
        "/gzip" => answer("200 OK\r\nContent-Encoding: gzip", &gzip(&torrent("sent"))),
        "/gzip-unsaid" => answer("200 OK", &gzip(&torrent("sent"))),
        "/folded" => answer("200 OK\r\nX-A: b\r\n c", &torrent("sent")),
        "/too-long" => {
            let longer = torrent("sent").len() + 9;
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {longer}\r\n\r\n").as_bytes(), &torrent("sent")]
                .concat()
        }
        _ => [b"HTTP/1.0 200 OK\r\n\r\n", &torrent("sent")[..]].concat(),
    });
    for path in ["/gzip", "/gzip-unsaid", "/folded", "/too-long", "/without-length"] {
        assert!(shown(&["show", &server.url(path)]).starts_with("sent\n"), "{path}");
    }
}

#[test]
fn a_name_of_both_families_is_read_from_whichever_answers() {
    let found = ("localhost", 0).to_socket_addrs().unwrap();
    for address in found.map(|address| address.ip().to_string()).collect::<BTreeSet<_>>() {
        // Nobody listens at the name's other address, if it has one.
        let server = Server::at(&address, |_| answer("200 OK", &torrent("sent")));
        let url = format!("http://localhost:{}/x.torrent", server.at.port());
        assert!(shown(&["show", &url]).starts_with("sent\n"), "{address}");
    }
}

#[test]
fn a_torrent_that_is_cut_short_is_refused_for_that() {
    let server = Server::at("127.0.0.1", |_| {
        let torrent = torrent("cut");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", torrent.len());
        [head.as_bytes(), &torrent[..torrent.len() - 1]].concat()
    });
    let line = refusal(&["show", &server.url("/")], 5);
    assert!(line.contains("cannot fetch"), "{line}");
}

#[test]
fn more_than_a_torrent_file_is_not_unpacked() {
    let server = Server::at("127.0.0.1", |_| answer("200 OK", &gzip(&vec![b'0'; 100 << 20])));
    let line = refusal(&["show", &server.url("/")], 5);
    assert!(line.contains("larger than 10 MiB"), "{line}");
}

#[test]
fn a_redirect_to_a_magnet_link_is_followed() {
    let server = Server::at("127.0.0.1", |path| match path {
        "/a" => to("/b"),
        _ => to(&format!("magnet:?xt=urn:btih:{HASH}&dn=led+there")),
    });
    let text = shown(&["show", "--json", &server.url("/a")]);
    assert!(text.contains(HASH) && text.contains("led there"), "{text}");
}

#[test]
fn headers_and_cookies_go_to_their_own_server_alone() {
    let other = Server::at("127.0.0.2", |_| answer("200 OK", &torrent("found")));
    let away = other.url("/there");
    let server = Server::at("127.0.0.1", move |path| if path == "/a" { to("/b") } else { to(&away) });
    let folder = tempfile::tempdir().unwrap();
    let cookies = folder.path().join("cookies.txt");
    let text = "# Netscape HTTP Cookie File\n\
                #HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tours\n\
                127.0.0.2\tFALSE\t/there\tFALSE\t0\tpass\ttheirs\n\
                elsewhere.example\tFALSE\t/\tFALSE\t0\tno\tbody\n";
    std::fs::write(&cookies, text).unwrap();
    let header = ["--header", "Authorization: Bearer secret", "--header", "X-Key: k"];
    let mut arguments = vec!["show", "--cookies", cookies.to_str().unwrap()];
    arguments.extend(header);
    let url = server.url("/a");
    arguments.push(&url);
    assert!(shown(&arguments).starts_with("found\n"));

    let sent: Vec<String> = server.heads().iter().map(|head| head.to_lowercase()).collect();
    assert_eq!(sent.len(), 2);
    for head in &sent {
        for line in [
            "authorization: bearer secret\r\n",
            "x-key: k\r\n",
            "cookie: session=ours\r\n",
            "user-agent: quelea/",
        ] {
            assert!(head.contains(line), "{line}: {head}");
        }
        assert!(!head.contains("theirs") && !head.contains("body"), "{head}");
    }
    let sent = other.heads().concat().to_lowercase();
    assert!(sent.contains("cookie: pass=theirs\r\n"), "{sent}");
    for kept in ["authorization", "x-key", "ours", "referer"] {
        assert!(!sent.contains(kept), "{kept}: {sent}");
    }
}

#[test]
fn a_user_agent_can_be_given() {
    let server = Server::at("127.0.0.1", |_| answer("200 OK", &torrent("found")));
    shown(&["show", "--header", "user-agent: Browser/1.0", &server.url("/")]);
    let head = server.heads().concat().to_lowercase();
    assert!(head.contains("user-agent: browser/1.0\r\n") && !head.contains("quelea"), "{head}");
}

#[test]
fn what_cannot_be_sent_is_told() {
    for (header, words) in [
        ("no colon", "'Name: value'"),
        ("two words: x", "not the name of a header"),
        ("Host: elsewhere.example", "set by the program itself"),
    ] {
        let line = refusal(&["show", "--header", header, "http://127.0.0.1:9/"], 2);
        assert!(line.contains(words), "{line}");
    }
    let folder = tempfile::tempdir().unwrap();
    let cookies = folder.path().join("cookies.txt");
    std::fs::write(&cookies, "[]\n").unwrap();
    let line = refusal(&["show", "--cookies", cookies.to_str().unwrap(), "http://127.0.0.1:9/"], 4);
    assert!(line.contains("line 1 is not a cookie"), "{line}");
    let line = refusal(&["show", "--cookies", "/nonexistent/cookies.txt", "http://127.0.0.1:9/"], 4);
    assert!(line.contains("/nonexistent/cookies.txt"), "{line}");
}

#[test]
fn https_to_a_port_of_http_says_what_to_try() {
    let server = Server::at("127.0.0.1", |_| answer("400 Bad Request", b""));
    let line = refusal(&["show", &server.url("/a.torrent").replace("http:", "https:")], 5);
    assert!(line.contains("does not speak TLS at this port; try http://"), "{line}");
}

#[test]
fn redirects_lead_nowhere_but_to_web_servers() {
    let there = Server::at("127.0.0.2", |_| answer("200 OK", &torrent("found")));
    let port = there.at.port();
    for (status, location, words) in [
        (302, "ftp://127.0.0.2/".to_owned(), "it leads to ftp:"),
        (302, format!("http://0.0.0.0:{port}/"), "into this machine or its network"),
        (300, there.url("/"), "the server answered 300"),
        (304, there.url("/"), "the server answered 304"),
        (302, "/again".to_owned(), "more than 5"),
    ] {
        let redirect = format!("{status} There\r\nLocation: {location}");
        let server = Server::at("127.0.0.1", move |_| answer(&redirect, b""));
        let line = refusal(&["show", &server.url("/")], 5);
        assert!(line.contains(words), "{line}");
    }
    assert!(there.heads().is_empty());
}

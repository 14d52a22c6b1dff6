//! `quelea dht`, and downloads by the DHT, as people run them: in a network of nodes on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea::{Session, Settings};
use serde_json::Value;
use std::net::UdpSocket;
use std::process::{Command, Output};
use support::{Bed, Leech, alone};

/// Nodes that know each other, in this process.
struct Nodes {
    _folder: tempfile::TempDir,
    sessions: Vec<Session>,
}

impl Nodes {
    fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut sessions: Vec<Session> = Vec::new();
        for _ in 0..count {
            let mut settings = Settings::new(folder.path());
            settings.port = 0;
            settings.bind = vec!["127.0.0.1".parse().unwrap()];
            settings.dht = true;
            settings.dht_bootstrap = sessions.first().map(address).into_iter().collect();
            sessions.push(Session::start(settings).unwrap());
        }
        let nodes = Self { _folder: folder, sessions };
        run(async {
            for session in &nodes.sessions[1..] {
                session.dht().unwrap().joined().await.unwrap();
            }
        });
        nodes
    }

    fn first(&self) -> String {
        address(&self.sessions[0])
    }

    /// `quelea dht ARGUMENTS` in this network.
    fn dht(&self, arguments: &[&str]) -> Output {
        dht(&self.first(), arguments)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        run(async {
            for session in &self.sessions {
                session.close().await;
            }
        });
    }
}

fn address(session: &Session) -> String {
    format!("127.0.0.1:{}", session.port())
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

fn dht(bootstrap: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
    alone(&mut command);
    command.env_remove("QUELEA_NO_DHT").arg("dht").args(arguments);
    command.args(["--bind", "127.0.0.1", "--state-dir", "none", "--dht-bootstrap", bootstrap]);
    command.output().unwrap()
}

fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&printed(output)).unwrap()
}

#[test]
fn a_visit_tells_how_many_nodes_there_are() {
    let nodes = Nodes::start(6);
    let status = json(&nodes.dht(&["status", "--json"]));
    assert!(status["nodes"]["ipv4"].as_u64().unwrap() >= 4, "{status}");
    assert_eq!(status["ids"]["ipv4"].as_str().unwrap().len(), 40);
    assert_eq!(status["ids"]["ipv6"], Value::Null);
    assert_eq!(status["routers"][0]["answered"], true);
    assert!(printed(&nodes.dht(&["status"])).starts_with("IPv4  "));
}

#[test]
fn a_torrent_without_a_tracker_is_downloaded_and_its_seed_is_found_and_counted() {
    let nodes = Nodes::start(6);
    let bed = Bed::new("things", 16_384, &[("one", 50_000), ("two", 70_000)]);
    let mut seed = bed.seed();
    seed.env_remove("QUELEA_NO_DHT").args(["--dht-bootstrap", &nodes.first()]);
    let seed = support::Seed::run(seed);
    let to = bed.path("leech");
    let mut leech = bed.quelea();
    leech.env_remove("QUELEA_NO_DHT").arg(bed.torrent()).arg("-o").arg(&to);
    // Nodes keep one peer of an address: the seed's is to stay.
    leech.args(["-p", "0", "--bind", "127.0.0.3", "--json", "--state-dir", "none"]);
    leech.args(["--dht-bootstrap", &nodes.first()]);
    let mut leech = Leech::start(leech);
    let joined = leech.event("dht_joined");
    assert!(joined["nodes"].as_u64().unwrap() > 0);
    let completed = leech.event("completed");
    assert_eq!(leech.event("ended")["exit_code"], 0);
    assert_eq!(bed.differences(&to), Vec::<String>::new());
    let hash = completed["info_hash"].as_str().unwrap();
    let found = json(&nodes.dht(&["get-peers", hash, "--json"]));
    assert!(found["peers"].as_array().unwrap().iter().any(|peer| peer == seed.address.as_str()), "{found}");
    let link = format!("magnet:?xt=urn:btih:{hash}");
    assert!(printed(&nodes.dht(&["get-peers", &link])).lines().any(|line| line == seed.address));
    let counted = json(&nodes.dht(&["scrape", hash, "--json"]));
    assert!(counted["seeds"].as_f64().unwrap() >= 1.0, "{counted}");
}

#[test]
fn texts_are_stored_changed_and_found() {
    let nodes = Nodes::start(6);
    let target = printed(&nodes.dht(&["put", "Hello"]));
    assert_eq!(printed(&nodes.dht(&["get", target.trim()])), "Hello\n");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("my.key");
    let key = key.to_str().unwrap();
    let first = json(&nodes.dht(&["put", "one", "--key", key, "--json"]));
    let second = json(&nodes.dht(&["put", "two", "--key", key, "--json"]));
    assert_eq!((&first["sequence"], &second["sequence"]), (&1.into(), &2.into()));
    assert_eq!(first["public_key"], second["public_key"]);
    let public = first["public_key"].as_str().unwrap();
    let found = json(&nodes.dht(&["get", public, "--json"]));
    assert_eq!((&found["text"], &found["sequence"]), (&"two".into(), &2.into()));
    let salted = nodes.dht(&["get", public, "--salt", "other"]);
    assert_eq!(salted.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&salted.stderr).contains("nothing is stored there"));
}

#[test]
fn what_is_published_is_downloaded_by_the_publishers_link() {
    let nodes = Nodes::start(6);
    let bed = Bed::new("things", 16_384, &[("one", 50_000)]);
    let mut seed = bed.seed();
    seed.env_remove("QUELEA_NO_DHT").args(["--dht-bootstrap", &nodes.first()]);
    let _seed = support::Seed::run(seed);
    let shown = bed.quelea().args(["show", "--json"]).arg(bed.torrent()).output().unwrap();
    let hash = json(&shown)["info_hash_v1"].as_str().unwrap().to_owned();
    let key = bed.path("my.key");
    let link = printed(&nodes.dht(&["publish", &hash, "--key", key.to_str().unwrap()]));
    let mut show = bed.quelea();
    show.env_remove("QUELEA_NO_DHT").args(["show", "--json", "--fetch", "--bind", "127.0.0.1", link.trim()]);
    show.args(["--dht-bootstrap", &nodes.first()]);
    assert_eq!(json(&show.output().unwrap())["info_hash_v1"].as_str(), Some(hash.as_str()));
    let unasked = bed.quelea().args(["show", link.trim()]).output().unwrap();
    assert_eq!(unasked.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&unasked.stderr).contains("--fetch"));
    let to = bed.path("leech");
    let mut leech = bed.quelea();
    leech.env_remove("QUELEA_NO_DHT").arg(link.trim()).arg("-o").arg(&to);
    leech.args(["-p", "0", "--bind", "127.0.0.1", "--json", "--state-dir", "none"]);
    leech.args(["--dht-bootstrap", &nodes.first()]);
    let mut leech = Leech::start(leech);
    assert_eq!(leech.event("completed")["info_hash"].as_str(), Some(hash.as_str()));
    assert_eq!(leech.wait(), Some(0));
    assert_eq!(bed.differences(&to), Vec::<String>::new());
}

#[test]
fn where_nobody_answers_it_is_told_who_was_tried() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = dht(&nobody, &["status"]);
    assert_eq!(output.status.code(), Some(5));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("no node of the DHT answers") && told.contains(&nobody), "{told}");
}

#[test]
fn a_file_that_is_no_key_is_told_before_anybody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("my.key");
    std::fs::write(&key, "secret").unwrap();
    let output = dht("127.0.0.1:9", &["put", "x", "--key", key.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no key"));
}

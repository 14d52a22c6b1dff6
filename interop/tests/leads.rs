//! Servers and trackers of the world lead nowhere into this machine or its network, whatever way they try; trackers that
//! the user chose there are asked. Everything is on one host, which has an address of each kind.
#![allow(missing_docs)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use quelea_interop::client::Client;
use quelea_interop::network::{Host, Network};
use quelea_interop::process::Process;
use quelea_interop::{Layout, Payload, Scenario, programs, quelea, wait};

/// Where the one listens that nobody may be led to: an HTTP server that answers as a tracker does.
const INNER: u16 = 9_000;
/// Where a peer of the world listens.
const PEER: u16 = 9_101;
/// Where a peer listens at every address of the host, and nobody may be led to.
const INNER_PEER: u16 = 9_100;
/// Where the first tracker of the world listens.
const FIRST: u16 = 8_001;

/// Requests that came, by their first lines.
type Heard = Arc<Mutex<Vec<String>>>;

#[test]
fn a_tracker_of_the_world_leads_into_no_network_nearby() -> Result<()> {
    Scenario::run(&[Client::Quelea], |scenario| {
        let (Some(world), Some(lan)) = (Network::apart([20, 83, 0])?, Network::apart([192, 168, 7])?) else {
            programs::notice("skipped: addresses of the world are those of hosts of their own alone");
            return Ok(());
        };
        let host = world.host()?;
        let site = lan.join(&host)?.context("a host on a bridge has an address")?;
        let leads = leads(site);
        let (inner, peers): (Heard, Heard) = Default::default();
        let inside = |address: Ipv4Addr, port| host.within(|| TcpListener::bind((address, port)));
        serve(inside(Ipv4Addr::UNSPECIFIED, INNER)??, &inner, tracker_answer(&[]));
        let inside_six = host.within(|| TcpListener::bind((Ipv6Addr::LOCALHOST, INNER)))??;
        serve(inside_six, &inner, tracker_answer(&[]));
        serve(inside(Ipv4Addr::UNSPECIFIED, INNER_PEER)??, &inner, Vec::new());
        serve(inside(host.address, PEER)??, &peers, Vec::new());

        let mut tiers = Vec::new();
        for (port, (status, to)) in (FIRST..).zip(&leads) {
            let answer = format!("HTTP/1.1 {status} There\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            serve(inside(host.address, port)??, &Heard::default(), answer.into_bytes());
            tiers.push(format!("http://{}:{port}/announce", host.address));
        }
        let named: Vec<SocketAddr> = [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED, site]
            .map(|address| SocketAddr::from((address, INNER_PEER)))
            .into_iter()
            .chain([SocketAddr::from((host.address, PEER))])
            .collect();
        serve(inside(host.address, FIRST - 1)??, &Heard::default(), tracker_answer(&named));
        tiers.push(format!("http://{}:{}/announce", host.address, FIRST - 1));
        let chosen = [format!("http://127.0.0.1:{INNER}/chosen"), format!("http://{site}:{INNER}/chosen")];
        tiers.extend(chosen.clone());

        let mut quelea = start(scenario, &host, &tiers)?;
        let log = scenario.scratch.log("quelea");
        wait::until("all trackers, and the peer of the world, to be asked", wait::LIMIT, || {
            quelea.must_run()?;
            let told = fs::read_to_string(&log)?;
            let is_told = |url: &String| {
                told.lines().any(|line| line.contains("\"event\":\"tracker\"") && line.contains(url.as_str()))
            };
            Ok((tiers.iter().all(is_told) && !lines(&peers).is_empty()).then_some(()))
        })?;
        let came = lines(&inner);
        let is_chosen = |line: &String| line.starts_with("GET /chosen?");
        ensure!(
            came.iter().filter(|line| is_chosen(line)).count() == chosen.len(),
            "not all chosen: {came:?}"
        );
        ensure!(came.iter().all(is_chosen), "it was led to: {came:?}");
        Ok(())
    })
}

/// Ways by which a tracker of the world may try to lead here: statuses and URLs.
fn leads(site: Ipv4Addr) -> Vec<(u16, String)> {
    let hosts = ["127.0.0.1", "localhost", "localhost.", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]"];
    let mut hosts: Vec<String> = hosts.map(str::to_owned).to_vec();
    hosts.extend(["2130706433".to_owned(), "0x7f.1".to_owned(), site.to_string()]);
    let mut leads: Vec<(u16, String)> =
        hosts.iter().map(|host| (302, format!("http://{host}:{INNER}/led"))).collect();
    leads.extend([300, 304, 305].map(|status| (status, format!("http://127.0.0.1:{INNER}/led"))));
    leads
}

fn tracker_answer(peers: &[SocketAddr]) -> Vec<u8> {
    let mut packed = Vec::new();
    for peer in peers {
        if let SocketAddr::V4(peer) = peer {
            packed.extend(peer.ip().octets());
            packed.extend(peer.port().to_be_bytes());
        }
    }
    let head = format!("d8:intervali1800e5:peers{}:", packed.len());
    let body = [head.as_bytes(), &packed, b"e"].concat();
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
}

/// Answers every request alike until the test's process ends.
fn serve(listener: TcpListener, heard: &Heard, answer: Vec<u8>) {
    let heard = Arc::clone(heard);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Who asks nothing is no matter.
            let _ = converse(stream, &heard, &answer);
        }
    });
}

fn converse(mut stream: TcpStream, heard: &Heard, answer: &[u8]) -> Result<()> {
    stream.set_read_timeout(Some(wait::LIMIT))?;
    let mut request = vec![0; 16 << 10];
    let length = stream.read(&mut request)?;
    let text = String::from_utf8_lossy(&request[..length]).into_owned();
    heard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(text.lines().next().unwrap_or_default().to_owned());
    stream.write_all(answer)?;
    Ok(())
}

fn lines(heard: &Heard) -> Vec<String> {
    heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn start(scenario: &Scenario, host: &Host, trackers: &[String]) -> Result<Process> {
    let folder = scenario.scratch.folder("payload")?;
    Payload::write(Layout::Single, 1, &folder)?;
    let torrent = scenario.scratch.file("test.torrent");
    let mut create = command(scenario, host)?;
    create.arg("create").arg(folder.join(Layout::Single.name())).arg("--output").arg(&torrent);
    // Each is a tier of its own.
    create.args(trackers.iter().flat_map(|tracker| ["--tracker", tracker]));
    let created = create.output().context("quelea did not start")?;
    ensure!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));

    let mut command = command(scenario, host)?;
    command.arg(&torrent);
    command.arg("--output-dir").arg(scenario.scratch.folder("downloads")?);
    command.args([
        "--state-dir",
        "none",
        "--port",
        "0",
        "--no-dht",
        "--no-lsd",
        "--no-port-map",
        "-v",
        "--json",
    ]);
    Process::start(&scenario.scratch, "quelea", &mut command)
}

fn command(scenario: &Scenario, host: &Host) -> Result<Command> {
    let program = quelea::program().context("there is no build of quelea: set QUELEA_BIN")?;
    let mut command = host.command(program.to_str().context("QUELEA_BIN is not UTF-8")?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUELEA_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", scenario.scratch.folder("home")?).env_remove("XDG_CONFIG_HOME");
    Ok(command)
}

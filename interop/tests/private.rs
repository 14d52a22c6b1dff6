//! Private torrents (BEP 27) speak with their trackers and the peers that those name, and with nobody else. A public
//! torrent beside it, in the same program and with the same temptations, shows that each of them would be followed.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quelea_interop::client::Client;
use quelea_interop::libtorrent::{PYTHON, script};
use quelea_interop::network::Host;
use quelea_interop::process::Process;
use quelea_interop::{
    Layout, Payload, Protocol, Scenario, Torrent, Tracker, programs, quelea, tracker, wait,
};

/// Where Quelea, and all who are real, listen.
const PORT: u16 = 16_881;
/// Where the local network says that a peer is: of the private torrent, and of the public one.
const BY_LSD: [u16; 2] = [7_001, 7_002];
/// Where a peer says that others are.
const BY_PEX: [u16; 2] = [8_001, 8_002];
/// Where a peer that calls says that it listens itself.
const CALLER: [u16; 2] = [9_001, 9_002];

#[test]
fn nobody_but_their_trackers_and_those_peers_is_spoken_to() -> Result<()> {
    Scenario::run(&[Client::Quelea, Client::Libtorrent], |scenario| {
        if scenario.network.is_loopback() {
            programs::notice("skipped: what leaves a host is seen on hosts of their own alone");
            return Ok(());
        }
        let [host, tracker_host, seed_host, tempter, node_host] = [(); 5].map(|()| scenario.network.host());
        let (host, tracker_host, seed_host) = (host?, tracker_host?, seed_host?);
        let (tempter, node_host) = (tempter?, node_host?);
        let torrents = [
            make(scenario, "private", &tracker::announce_url(&tracker_host, Protocol::Http), true)?,
            make(scenario, "public", "", false)?,
        ];
        let mut tracker = Tracker::start(&scenario.scratch, tracker_host.clone(), &torrents[0].1)?;
        let seed_job = scenario.job(&seed_host, &torrents[0].1, scenario.scratch.folder("seed")?);
        torrents[0].0.copy_to(&seed_job.folder)?;
        let _seed = Client::Libtorrent.seed(&seed_job)?;
        tracker.await_seeds(1)?;
        let node = SocketAddr::new(node_host.address.into(), PORT);
        let _node = dht_node(scenario, &node_host, node)?;

        let watch_log = scenario.scratch.log("watch");
        let _watch = watch(scenario, &host, &torrents)?;
        wait::until("the watch", wait::LIMIT, || Ok(lines(&watch_log)?.contains("watching").then_some(())))?;
        let mut quelea = start(scenario, &host, &torrents, node)?;
        let listens = SocketAddr::new(host.address.into(), PORT);
        wait::until("Quelea to listen", wait::LIMIT, || tempter.connect(listens))?;

        let stop = Arc::new(AtomicBool::new(false));
        let tempting = [0, 1].map(|which| {
            let (stop, tempter) = (Arc::clone(&stop), tempter.clone());
            let hash = bytes(&torrents[which].1.announced[0]);
            thread::spawn(move || tempter.within(|| tempt(&stop, tempter.address, listens, hash, which)))
        });
        let (group, at) = ("239.192.152.143", tempter.address);
        let node = node_host.address;
        let followed = [
            format!("group {group}"),
            format!("udp {group}:6771 public"),
            format!("dial {at}:{} ", BY_LSD[1]),
            format!("dial {at}:{} ", BY_PEX[1]),
            format!("dial {at}:{} ", CALLER[1]),
            format!("udp {node}:{PORT} public"),
            format!("dial {}:{} ", tracker_host.address, tracker::PORT),
            format!("dial {}:{PORT} ", seed_host.address),
        ];
        let missing = |seen: &BTreeSet<String>| -> Vec<String> {
            let told =
                |wanted: &&String| seen.iter().any(|line| format!("{line} ").starts_with(wanted.as_str()));
            followed.iter().filter(|wanted| !told(wanted)).cloned().collect()
        };
        let all = wait::until("the public torrent to follow every temptation", wait::LIMIT, || {
            quelea.must_run()?;
            let seen = lines(&watch_log)?;
            Ok(missing(&seen).is_empty().then_some(seen))
        });
        let seen = match all {
            Ok(seen) => seen,
            Err(error) => return Err(error.context(format!("missing: {:?}", missing(&lines(&watch_log)?)))),
        };
        stop.store(true, Ordering::Relaxed);
        for tempted in tempting {
            tempted.join().map_err(|_| anyhow::anyhow!("a tempter panicked"))???;
        }
        // Each temptation came to the private torrent first.
        let seen: BTreeSet<String> = seen.union(&lines(&watch_log)?).cloned().collect();
        for line in &seen {
            judge(line, &host, [&tracker_host, &seed_host, &tempter, &node_host])?;
        }
        Ok(())
    })
}

/// Whether what a line tells may be.
fn judge(line: &str, host: &Host, [tracker, seed, tempter, node]: [&Host; 4]) -> Result<()> {
    if line == "watching" {
        return Ok(());
    }
    let words: Vec<&str> = line.split(' ').collect();
    let to = *words.get(1).with_context(|| format!("{line:?} names nobody"))?;
    let private = words.contains(&"private");
    let dial = |host: &Host, port: u16| words[0] == "dial" && to == format!("{}:{port}", host.address);
    let answers = |host: &Host| words[0] == "answer" && to == host.address.to_string();
    let of_private = dial(tracker, tracker::PORT)
        || dial(seed, PORT)
        || answers(tracker)
        || answers(seed)
        // Who calls us and names the torrent is answered.
        || answers(tempter);
    let of_public = [BY_LSD, BY_PEX, CALLER].iter().any(|ports| dial(tempter, ports[1]))
        || to == format!("{}:{PORT}", node.address)
        || answers(node)
        || ["239.192.152.143", "ff15::efc0:988f"].iter().any(|group| to.trim_end_matches(":6771") == *group)
        // Looking for a gateway names no torrent.
        || to.starts_with("239.255.255.250");
    ensure!(of_private || (of_public && !private), "{} does what it must not: {line}", host.address);
    Ok(())
}

fn make(scenario: &Scenario, name: &str, announce: &str, private: bool) -> Result<(Payload, Torrent)> {
    let folder = scenario.scratch.folder(&format!("payload-{name}"))?;
    // Of other names, so that both are written.
    let layout = if private { Layout::Padded } else { Layout::Single };
    let payload = Payload::write(layout, 1, &folder)?;
    let file = scenario.scratch.file(&format!("{name}.torrent"));
    let torrent = if private {
        Torrent::make_private(&payload, &folder, file, announce)?
    } else {
        Torrent::make(&payload, &folder, file, announce)?
    };
    Ok((payload, torrent))
}

/// Quelea with both torrents and everything on, and so slow that neither is done while it is watched.
fn start(
    scenario: &Scenario,
    host: &Host,
    torrents: &[(Payload, Torrent); 2],
    node: SocketAddr,
) -> Result<Process> {
    let program = quelea::program().context("there is no build of quelea: set QUELEA_BIN")?;
    let mut command = host.command(program.to_str().context("QUELEA_BIN is not UTF-8")?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUELEA_") {
            command.env_remove(name);
        }
    }
    let home = scenario.scratch.folder("home")?;
    command.env("HOME", &home).env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME");
    // The private one comes first in everything.
    command.args(torrents.iter().map(|(_, torrent)| &torrent.file));
    command.arg("--output-dir").arg(scenario.scratch.folder("downloads")?);
    command.args(["--state-dir", "none", "--port", &PORT.to_string(), "-v", "--json"]);
    command.args(["--max-download", "20K", "--dht-bootstrap", &node.to_string()]);
    Process::start(&scenario.scratch, "quelea", &mut command)
}

/// A node of the DHT, by libtorrent.
fn dht_node(scenario: &Scenario, host: &Host, at: SocketAddr) -> Result<Process> {
    let text = format!(
        "import libtorrent as lt, time\n\
         session = lt.session({{'listen_interfaces': '{at}', 'enable_dht': True, 'dht_bootstrap_nodes': '',\n\
             'dht_restrict_routing_ips': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False}})\n\
         while True: time.sleep(60)\n"
    );
    let mut command = host.command(PYTHON);
    command.args(["-c", &text]);
    Process::start(&scenario.scratch, "node", &mut command)
}

fn watch(scenario: &Scenario, host: &Host, torrents: &[(Payload, Torrent); 2]) -> Result<Process> {
    let mut command = host.command(PYTHON);
    command.arg(script("capture.py"));
    for (name, (_, torrent)) in ["private", "public"].iter().zip(torrents) {
        command.arg(format!("{name}={}", torrent.announced[0]));
    }
    Process::start(&scenario.scratch, "watch", &mut command)
}

fn lines(log: &std::path::Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    // The last may still be being written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    Ok(whole.lines().map(str::to_owned).collect())
}

fn bytes(hash: &str) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).unwrap_or(0);
    }
    bytes
}

/// Does what would make a public torrent call, again and again: tells the neighbourhood of a peer, and calls, names
/// another peer and where it listens itself, and goes.
fn tempt(
    stop: &AtomicBool,
    address: Ipv4Addr,
    quelea: SocketAddr,
    hash: [u8; 20],
    which: usize,
) -> Result<()> {
    let socket = UdpSocket::bind((address, 0))?;
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let word = format!(
        "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: {}\r\nInfohash: {hex}\r\n\r\n\r\n",
        BY_LSD[which]
    );
    // Somebody must be there for a connection that is worth anything, and be there still when it is made again.
    let _listeners =
        [BY_PEX[which], BY_LSD[which], CALLER[which]].map(|port| TcpListener::bind((address, port)));
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        socket.send_to(word.as_bytes(), "239.192.152.143:6771")?;
        // Seldom, so that there is time to call it back.
        if round % 60 == 0 {
            // Whether it is let in is its own affair.
            let _ = call(address, quelea, hash, which);
        }
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn call(address: Ipv4Addr, quelea: SocketAddr, hash: [u8; 20], which: usize) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&quelea, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0".to_vec();
    hello.extend(hash);
    hello.extend(format!("-XX0000-tempter{which:05}").bytes());
    stream.write_all(&hello)?;
    let mut theirs = [0; 68];
    stream.read_exact(&mut theirs)?;
    let extended = |id: u8, payload: &[u8]| -> Vec<u8> {
        let length = u32::try_from(payload.len() + 2).unwrap_or(0).to_be_bytes();
        [&length[..], &[20, id], payload].concat()
    };
    let said = format!("d1:md6:ut_pexi7ee1:pi{}ee", CALLER[which]);
    stream.write_all(&extended(0, said.as_bytes()))?;
    let contact = [&address.octets()[..], &BY_PEX[which].to_be_bytes()].concat();
    let pex = [&b"d5:added6:"[..], &contact, b"7:added.f1:\x10e"].concat();
    // Which number it gave the exchange, if any, does not matter: one of these is it.
    for id in 1..=4 {
        stream.write_all(&extended(id, &pex))?;
    }
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

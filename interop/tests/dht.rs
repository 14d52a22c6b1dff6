//! The DHT with real clients: torrents without a tracker go from each of them to Quelea and from Quelea to each, and
//! nothing tells them of each other but nodes of Quelea and libtorrent. A link has nothing but the info-hash, so that
//! the metadata come from who was found.
//!
//! Transmission and qBittorrent look for public nodes whatever they are told, so that they have no part where hosts are
//! mere loopback addresses. qBittorrent learns of nodes by a torrent file alone, so that it is given no link. rTorrent
//! 0.9.8 only seeds here: of the peers that it finds by the DHT it was seen to connect to none.
#![allow(missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use quelea::dht::{Id, Told};
use quelea::{Session, Settings};
use quelea_interop::Client::{Aria2, Libtorrent, Qbittorrent, Quelea, Rtorrent, Transmission};
use quelea_interop::libtorrent::{PYTHON, script};
use quelea_interop::network::Host;
use quelea_interop::payload::Wanted;
use quelea_interop::process::Process;
use quelea_interop::{Client, Job, Layout, Payload, Scenario, Torrent, programs, wait};

/// Where nodes listen; each has an address of its own.
const PORT: u16 = 26_881;
/// Nodes of Quelea and of libtorrent beside those that exchange.
const FEW: [usize; 2] = [6, 6];

/// What the leech has of the torrent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    File,
    Link,
}
use Given::{File, Link};

#[test]
fn a_link_from_libtorrent() -> Result<()> {
    transfer(&[Libtorrent], Quelea, Link, FEW)
}

#[test]
fn a_link_from_transmission() -> Result<()> {
    transfer(&[Transmission], Quelea, Link, FEW)
}

#[test]
fn a_link_from_aria2() -> Result<()> {
    transfer(&[Aria2], Quelea, Link, FEW)
}

#[test]
fn a_link_from_qbittorrent() -> Result<()> {
    transfer(&[Qbittorrent], Quelea, Link, FEW)
}

#[test]
fn a_link_from_rtorrent() -> Result<()> {
    transfer(&[Rtorrent], Quelea, Link, FEW)
}

#[test]
fn a_link_from_quelea() -> Result<()> {
    transfer(&[Quelea], Quelea, Link, FEW)
}

#[test]
fn a_file_from_quelea() -> Result<()> {
    transfer(&[Quelea], Quelea, File, FEW)
}

#[test]
fn a_file_to_libtorrent() -> Result<()> {
    transfer(&[Quelea], Libtorrent, File, FEW)
}

#[test]
fn a_file_to_transmission() -> Result<()> {
    transfer(&[Quelea], Transmission, File, FEW)
}

#[test]
fn a_file_to_aria2() -> Result<()> {
    transfer(&[Quelea], Aria2, File, FEW)
}

#[test]
fn a_file_to_qbittorrent() -> Result<()> {
    transfer(&[Quelea], Qbittorrent, File, FEW)
}

#[test]
fn a_link_to_libtorrent() -> Result<()> {
    transfer(&[Quelea], Libtorrent, Link, FEW)
}

#[test]
fn a_link_to_transmission() -> Result<()> {
    transfer(&[Quelea], Transmission, Link, FEW)
}

#[test]
fn a_link_to_aria2() -> Result<()> {
    transfer(&[Quelea], Aria2, Link, FEW)
}

#[test]
fn a_link_from_all_in_a_network_of_fifty() -> Result<()> {
    transfer(&[Libtorrent, Transmission, Aria2, Qbittorrent], Quelea, Link, [23, 22])
}

/// The seeds serve one torrent without a tracker, and the leech gets it by its file or a link, in a network of so many nodes of Quelea and of
/// libtorrent beside.
fn transfer(seeds: &[Client], leech: Client, given: Given, nodes: [usize; 2]) -> Result<()> {
    let clients = [seeds, &[leech]].concat();
    Scenario::run(&clients, |scenario| {
        let looks_outside = |client: &Client| matches!(client, Transmission | Qbittorrent);
        if scenario.network.is_loopback() && clients.iter().any(looks_outside) {
            programs::notice("skipped: hosts are loopback addresses, and this client looks for public nodes");
            return Ok(());
        }
        let network = Nodes::start(scenario, nodes)?;
        let folder = scenario.scratch.folder("payload")?;
        let payload = Payload::write(Layout::Single, 1, &folder)?;
        let file = scenario.scratch.file("test.torrent");
        let named: &[SocketAddr] = if clients.contains(&Qbittorrent) { &network.entrances } else { &[] };
        let torrent = Torrent::make_trackerless(&payload, &folder, file, named)?;
        let hosts = seeds.iter().map(|_| scenario.network.host()).collect::<Result<Vec<_>>>()?;
        let mut running = Vec::new();
        for (seed, host) in seeds.iter().zip(&hosts) {
            let job = network.job(scenario, host, &torrent)?;
            payload.copy_to(&job.folder)?;
            running.push(seed.seed(&job)?);
        }
        let listening: Vec<SocketAddr> = hosts.iter().map(|host| (host.address, 16_881).into()).collect();
        network.await_peers(&torrent, &listening)?;
        let host = scenario.network.host()?;
        let job = Job { by_magnet: given == Link, ..network.job(scenario, &host, &torrent)? };
        leech.leech(&job)?.must_complete()?;
        running.iter_mut().try_for_each(quelea_interop::client::Running::must_run)?;
        payload.check(&job.folder, Wanted::All)
    })
}

/// A network of nodes, which goes with it.
struct Nodes {
    sessions: Vec<Session>,
    entrances: Vec<SocketAddr>,
    _libtorrent: Process,
}

impl Nodes {
    fn start(scenario: &Scenario, [ours, libtorrents]: [usize; 2]) -> Result<Self> {
        let host = scenario.network.host()?;
        let folder = scenario.scratch.folder("nodes")?;
        let mut sessions = Vec::new();
        let mut entrances: Vec<SocketAddr> = Vec::new();
        for _ in 0..ours {
            let address = scenario.network.address(&host)?;
            let mut settings = Settings::new(&folder);
            settings.bind = vec![address.into()];
            settings.port = PORT;
            settings.dht = true;
            settings.dht_bootstrap = entrances.iter().take(1).map(ToString::to_string).collect();
            let session = host.within(|| Session::start(settings))??;
            session.dht().context("a node without UDP")?;
            entrances.push((address, session.port()).into());
            sessions.push(session);
        }
        let beside = scenario.network.host()?;
        let mut command = beside.command(PYTHON);
        command.arg(script("nodes.py")).arg(entrances[0].to_string());
        for _ in 0..libtorrents {
            command.arg(format!("{}:{PORT}", scenario.network.address(&beside)?));
        }
        let mut process = Process::start(&scenario.scratch, "libtorrent-nodes", &mut command)?;
        let log = scenario.scratch.log("libtorrent-nodes");
        wait::until("libtorrent's nodes to join", wait::LIMIT, || {
            process.must_run()?;
            Ok(std::fs::read_to_string(&log)?.contains("READY").then_some(()))
        })?;
        entrances.truncate(3);
        Ok(Self { sessions, entrances, _libtorrent: process })
    }

    /// A part in the transfer of a torrent by one that joins this network.
    fn job<'a>(&self, scenario: &'a Scenario, host: &'a Host, torrent: &'a Torrent) -> Result<Job<'a>> {
        let folder = scenario.scratch.folder(&format!("folder-{}", host.address))?;
        Ok(Job { nodes: self.entrances.clone(), ..scenario.job(host, torrent, folder) })
    }

    /// Waits until the network knows all these peers of a torrent.
    fn await_peers(&self, torrent: &Torrent, expected: &[SocketAddr]) -> Result<()> {
        let hash = torrent.announced.first().context("a torrent without a hash")?;
        let bytes: Vec<u8> =
            (0..20).map(|at| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16)).collect::<Result<_, _>>()?;
        let hash = Id::from_slice(&bytes).context("a hash of another length")?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let dht = self.sessions.last().and_then(Session::dht).context("no node")?;
        wait::until("the network to know every seed", wait::LIMIT, || {
            let peers = runtime.block_on(async {
                let mut search = dht.find_peers(hash, None).await?;
                let mut peers = Vec::new();
                while let Some(told) = search.next().await {
                    if let Told::Peers(found) = told {
                        peers.extend(found);
                    }
                }
                Ok::<_, anyhow::Error>(peers)
            })?;
            if expected.iter().all(|peer| peers.contains(peer)) {
                return Ok(Some(()));
            }
            std::thread::sleep(Duration::from_millis(500));
            Ok(None)
        })
    }
}

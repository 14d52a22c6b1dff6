//! The DHT with real clients: torrents without a tracker go from each of them to Quelea and from Quelea to each, and
//! nothing tells them of each other but nodes of Quelea and libtorrent. A link has nothing but the info-hash, so that
//! the metadata come from who was found.
//!
//! Transmission and qBittorrent look for public nodes whatever they are told, so that they have no part where hosts are
//! mere loopback addresses.
//!
//! rTorrent 0.9.8 finds nobody by the DHT, but is found. Its library (0.13.8, `AddressList::parse_address_bencode`) reads each
//! address of `values` from the first byte of the list, which is the `6:` before an address: for a peer at A.B.C.D it dials
//! 54.58.A.B, at port C * 256 + D. It is so up to 0.15.6.
#![allow(missing_docs)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use quelea::dht::{Id, Told};
use quelea::{Session, Settings};
use quelea_interop::Client::{Aria2, Libtorrent, Qbittorrent, Quelea, Rtorrent, Transmission};
use quelea_interop::client::Running;
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
    transfer(Libtorrent, Quelea, Link)
}

#[test]
fn a_link_from_transmission() -> Result<()> {
    transfer(Transmission, Quelea, Link)
}

#[test]
fn a_link_from_aria2() -> Result<()> {
    transfer(Aria2, Quelea, Link)
}

#[test]
fn a_link_from_qbittorrent() -> Result<()> {
    transfer(Qbittorrent, Quelea, Link)
}

#[test]
fn a_link_from_rtorrent() -> Result<()> {
    transfer(Rtorrent, Quelea, Link)
}

#[test]
fn a_link_from_quelea() -> Result<()> {
    transfer(Quelea, Quelea, Link)
}

#[test]
fn a_file_from_quelea() -> Result<()> {
    transfer(Quelea, Quelea, File)
}

#[test]
fn a_file_to_libtorrent() -> Result<()> {
    transfer(Quelea, Libtorrent, File)
}

#[test]
fn a_file_to_transmission() -> Result<()> {
    transfer(Quelea, Transmission, File)
}

#[test]
fn a_file_to_aria2() -> Result<()> {
    transfer(Quelea, Aria2, File)
}

#[test]
fn a_file_to_qbittorrent() -> Result<()> {
    transfer(Quelea, Qbittorrent, File)
}

#[test]
fn a_link_to_libtorrent() -> Result<()> {
    transfer(Quelea, Libtorrent, Link)
}

#[test]
fn a_link_to_transmission() -> Result<()> {
    transfer(Quelea, Transmission, Link)
}

#[test]
fn a_link_to_aria2() -> Result<()> {
    transfer(Quelea, Aria2, Link)
}

#[test]
fn a_link_to_qbittorrent() -> Result<()> {
    transfer(Quelea, Qbittorrent, Link)
}

#[test]
fn a_file_to_an_rtorrent_that_is_found() -> Result<()> {
    found_by_the_seed(Rtorrent, File)
}

#[test]
fn a_link_to_an_rtorrent_that_is_found() -> Result<()> {
    found_by_the_seed(Rtorrent, Link)
}

#[test]
fn links_from_and_to_all_in_a_network_of_fifty() -> Result<()> {
    let clients = [Libtorrent, Transmission, Aria2, Qbittorrent];
    let pairs: Vec<_> = clients.iter().flat_map(|client| [(*client, Quelea), (Quelea, *client)]).collect();
    transfers(&pairs, Link, [23, 22])
}

/// A torrent that only one has, and who else wants it.
struct Offer {
    seed: Client,
    leech: Client,
    payload: Payload,
    torrent: Torrent,
    /// The seed's and the leech's.
    hosts: [Host; 2],
}

/// The seed serves a torrent without a tracker, and the leech finds it.
fn transfer(seed: Client, leech: Client, given: Given) -> Result<()> {
    transfers(&[(seed, leech)], given, FEW)
}

/// Each seed serves one torrent without a tracker, and the leech beside it gets it by its file or a link, in a network of
/// so many nodes of Quelea and of libtorrent beside.
fn transfers(pairs: &[(Client, Client)], given: Given, nodes: [usize; 2]) -> Result<()> {
    in_a_network(pairs, nodes, |scenario, network, offers| {
        let mut running = Vec::new();
        for offer in offers {
            let job = network.job(scenario, &offer.hosts[0], &offer.torrent)?;
            offer.payload.copy_to(&job.folder)?;
            running.push(offer.seed.seed(&job)?);
        }
        for offer in offers {
            network
                .await_peer(&offer.torrent, &offer.hosts[0])
                .with_context(|| format!("{:?} announces for {:?}", offer.seed, offer.leech))?;
        }
        let mut downloads = Vec::new();
        for offer in offers {
            let job = network.job(scenario, &offer.hosts[1], &offer.torrent)?;
            downloads.push(offer.leech.leech(&Job { by_magnet: given == Link, ..job })?);
        }
        for (offer, download) in offers.iter().zip(&mut downloads) {
            download.must_complete().with_context(|| format!("{:?} from {:?}", offer.leech, offer.seed))?;
            offer.payload.check(&folder(scenario, &offer.hosts[1])?, Wanted::All)?;
        }
        running.iter_mut().try_for_each(Running::must_run)
    })
}

/// The leech is there first, and Quelea, which has the torrent, finds it.
fn found_by_the_seed(leech: Client, given: Given) -> Result<()> {
    in_a_network(&[(Quelea, leech)], FEW, |scenario, network, offers| {
        let offer = offers.first().context("no offer")?;
        let job = network.job(scenario, &offer.hosts[1], &offer.torrent)?;
        let mut download = leech.leech(&Job { by_magnet: given == Link, ..job })?;
        network.await_peer(&offer.torrent, &offer.hosts[1])?;
        let job = network.job(scenario, &offer.hosts[0], &offer.torrent)?;
        offer.payload.copy_to(&job.folder)?;
        let mut seed = Quelea.seed(&job)?;
        download.must_complete()?;
        seed.must_run()?;
        offer.payload.check(&folder(scenario, &offer.hosts[1])?, Wanted::All)
    })
}

fn in_a_network(
    pairs: &[(Client, Client)],
    nodes: [usize; 2],
    test: impl FnOnce(&Scenario, &Nodes, &[Offer]) -> Result<()>,
) -> Result<()> {
    let clients: Vec<Client> = pairs.iter().flat_map(|(seed, leech)| [*seed, *leech]).collect();
    Scenario::run(&clients, |scenario| {
        let looks_outside = |client: &Client| matches!(client, Transmission | Qbittorrent);
        if scenario.network.is_loopback() && clients.iter().any(looks_outside) {
            programs::notice("skipped: hosts are loopback addresses, and this client looks for public nodes");
            return Ok(());
        }
        let network = Nodes::start(scenario, nodes)?;
        let mut offers = Vec::new();
        for (number, (seed, leech)) in (1..).zip(pairs.iter().copied()) {
            let folder = scenario.scratch.folder(&format!("payload-{number}"))?;
            let payload = Payload::write(Layout::Small, number, &folder)?;
            let file = scenario.scratch.file(&format!("test-{number}.torrent"));
            let torrent = Torrent::make(&payload, &folder, file, "")?;
            let hosts = [scenario.network.host()?, scenario.network.host()?];
            offers.push(Offer { seed, leech, payload, torrent, hosts });
        }
        test(scenario, &network, &offers)
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
        let folder = folder(scenario, host)?;
        Ok(Job { nodes: self.entrances.clone(), ..scenario.job(host, torrent, folder) })
    }

    /// Waits until the network knows that a host takes part in a torrent.
    fn await_peer(&self, torrent: &Torrent, host: &Host) -> Result<()> {
        let expected = SocketAddr::from((host.address, 16_881));
        let hash = torrent.announced.first().context("a torrent without a hash")?;
        let bytes: Vec<u8> =
            (0..20).map(|at| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16)).collect::<Result<_, _>>()?;
        let hash = Id::from_slice(&bytes).context("a hash of another length")?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let dht = self.sessions.last().and_then(Session::dht).context("no node")?;
        wait::until("the network to know a peer", wait::LIMIT, || {
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
            if peers.contains(&expected) {
                return Ok(Some(()));
            }
            std::thread::sleep(Duration::from_millis(500));
            Ok(None)
        })
    }
}

/// Where the payload lies on a host.
fn folder(scenario: &Scenario, host: &Host) -> Result<PathBuf> {
    scenario.scratch.folder(&format!("folder-{}", host.address))
}

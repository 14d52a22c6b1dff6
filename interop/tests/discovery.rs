//! Peers are found without a tracker, by one means at a time and nothing else. Who downloads has nothing but a link.
//!
//! rTorrent exchanges peers every two minutes, the first time a minute and a half after its start, and dials whom it was told
//! of every half minute. aria2 tells of peers alone that it met within the last minute. rTorrent knows no local discovery.
#![allow(missing_docs)]

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use quelea_interop::client::{Client, Discovery, Job};
use quelea_interop::neighbourhood::Ear;
use quelea_interop::{Layout, Scenario, programs, wait};

/// KiB a second that who stands between receives: so little that nobody could be done by it alone.
const BETWEEN: u32 = 20;

/// Quelea is told of one peer, and learns of the seed from that one alone.
fn quelea_learns_of_a_seed_from(middle: Client) -> Result<()> {
    exchange(middle, Client::Quelea)
}

/// Another client knows Quelea, and learns of the seed from it alone.
fn quelea_tells_of_a_seed_to(leech: Client) -> Result<()> {
    exchange(Client::Quelea, leech)
}

/// One stands between a seed and a leech that has nothing but a link; they do not know each other. The seed itself
/// exchanges nothing.
fn exchange(middle: Client, leech: Client) -> Result<()> {
    let seed = Client::Libtorrent;
    Scenario::run(&[seed, middle, leech], |scenario| {
        if scenario.network.is_loopback() && [middle, leech].contains(&Client::Transmission) {
            programs::notice("skipped: Transmission takes no peers at loopback addresses from others");
            return Ok(());
        }
        let (payload, torrent) = scenario.publish_alone(Layout::Single)?;
        let hosts = [scenario.network.host()?, scenario.network.host()?, scenario.network.host()?];
        let job = |at: usize, folder: &str| -> Result<Job<'_>> {
            let folder = scenario.scratch.folder(folder)?;
            Ok(Job { discovery: Discovery::PEX, ..scenario.job(&hosts[at], &torrent, folder) })
        };
        let mut seed_job = Job { discovery: Discovery::default(), ..job(0, "seed")? };
        let mut middle_job = job(1, "middle")?;
        if middle == Client::Aria2 {
            // Above a limit of its own it reads nothing at all, handshakes neither.
            if !scenario.network.limit_downlink(&hosts[1], u64::from(BETWEEN) << 10)? {
                programs::notice("skipped: on loopback what a host receives cannot be limited");
                return Ok(());
            }
        } else {
            middle_job.max_download = Some(BETWEEN);
        }
        let mut leech_job = Job { by_magnet: true, ..job(2, "downloads")? };
        payload.copy_to(&seed_job.folder)?;
        // Each connection is made by one that can be told of the other.
        if middle.takes_peers() {
            middle_job.peers.push(seed_job.listen);
        } else {
            seed_job.peers.push(middle_job.listen);
        }
        if leech.takes_peers() {
            leech_job.peers.push(middle_job.listen);
        } else {
            middle_job.peers.push(leech_job.listen);
        }
        // Some dial whom they were told of once.
        let mut seeding = seed.share(&seed_job)?;
        seeding.must_complete()?;
        let mut between = middle.leech(&middle_job)?;
        wait::until("who stands between to listen", wait::LIMIT, || hosts[1].connect(middle_job.listen))?;
        let mut download = leech.leech(&leech_job)?;
        download.must_complete()?;
        seeding.must_run()?;
        ensure!(!between.is_complete()?, "who stands between was to have next to nothing");
        payload.check(&leech_job.folder, quelea_interop::Wanted::WithBytes)
    })
}

#[test]
fn by_exchange_from_quelea() -> Result<()> {
    quelea_learns_of_a_seed_from(Client::Quelea)
}

#[test]
fn by_exchange_from_libtorrent() -> Result<()> {
    quelea_learns_of_a_seed_from(Client::Libtorrent)
}

#[test]
fn by_exchange_from_transmission() -> Result<()> {
    quelea_learns_of_a_seed_from(Client::Transmission)
}

#[test]
fn by_exchange_from_qbittorrent() -> Result<()> {
    quelea_learns_of_a_seed_from(Client::Qbittorrent)
}

#[test]
fn by_exchange_from_aria2() -> Result<()> {
    quelea_learns_of_a_seed_from(Client::Aria2)
}

#[test]
fn by_exchange_from_rtorrent() -> Result<()> {
    quelea_learns_of_a_seed_from(Client::Rtorrent)
}

#[test]
fn by_exchange_for_rtorrent() -> Result<()> {
    quelea_tells_of_a_seed_to(Client::Rtorrent)
}

#[test]
fn by_exchange_for_libtorrent() -> Result<()> {
    quelea_tells_of_a_seed_to(Client::Libtorrent)
}

#[test]
fn by_exchange_for_transmission() -> Result<()> {
    quelea_tells_of_a_seed_to(Client::Transmission)
}

#[test]
fn by_exchange_for_qbittorrent() -> Result<()> {
    quelea_tells_of_a_seed_to(Client::Qbittorrent)
}

#[test]
fn by_exchange_for_aria2() -> Result<()> {
    quelea_tells_of_a_seed_to(Client::Aria2)
}

/// Two neighbours find each other by what the one announces that comes later: it hears nothing of the neighbourhood.
/// The leech has nothing but a link.
fn neighbours(first: Client, later: Client, seed_is_first: bool) -> Result<()> {
    Scenario::run(&[first, later], |scenario| {
        let on_loopback = scenario.network.is_loopback();
        if on_loopback && [first, later].iter().any(|client| *client != Client::Quelea) {
            programs::notice("skipped: on loopback the multicast of other clients goes anywhere");
            return Ok(());
        }
        let (payload, torrent) = scenario.publish_alone(Layout::Small)?;
        let hosts = [scenario.network.host()?, scenario.network.host()?];
        let third = scenario.network.host()?;
        let ear = if on_loopback { None } else { Some(Ear::open(&third)?) };
        let job = |at: usize| -> Result<Job<'_>> {
            let is_seed = (at == 0) == seed_is_first;
            let folder = scenario.scratch.folder(if is_seed { "seed" } else { "downloads" })?;
            if is_seed {
                payload.copy_to(&folder)?;
            }
            Ok(Job {
                discovery: Discovery::LSD,
                by_magnet: !is_seed,
                ..scenario.job(&hosts[at], &torrent, folder)
            })
        };
        let jobs = [job(0)?, job(1)?];
        let (seed, download) = if seed_is_first { (0, 1) } else { (1, 0) };
        let begin = |at: usize| {
            let client = if at == 0 { first } else { later };
            if at == seed { client.seed(&jobs[at]) } else { client.leech(&jobs[at]) }
        };
        let early = begin(0)?;
        match ear {
            Some(ear) => ear.await_word(&hosts[0], &torrent)?,
            None => _ = wait::until("the first to listen", wait::LIMIT, || hosts[0].connect(jobs[0].listen))?,
        }
        scenario.network.deafen(&hosts[1])?;
        let mut running = [early, begin(1)?];
        running[download].must_complete()?;
        running[seed].must_run()?;
        payload.check(&jobs[download].folder, quelea_interop::Wanted::WithBytes)
    })
}

#[test]
fn by_local_discovery_of_libtorrent() -> Result<()> {
    neighbours(Client::Quelea, Client::Libtorrent, false)
}

#[test]
fn by_local_discovery_of_transmission() -> Result<()> {
    neighbours(Client::Quelea, Client::Transmission, false)
}

#[test]
fn by_local_discovery_of_qbittorrent() -> Result<()> {
    neighbours(Client::Quelea, Client::Qbittorrent, false)
}

#[test]
fn by_local_discovery_of_aria2() -> Result<()> {
    neighbours(Client::Quelea, Client::Aria2, false)
}

/// A seed that nobody wants anything of is woken by a neighbour that does.
#[test]
fn by_local_discovery_of_a_leech() -> Result<()> {
    neighbours(Client::Quelea, Client::Libtorrent, true)
}

#[test]
fn by_local_discovery_for_libtorrent() -> Result<()> {
    neighbours(Client::Libtorrent, Client::Quelea, false)
}

#[test]
fn by_local_discovery_for_transmission() -> Result<()> {
    neighbours(Client::Transmission, Client::Quelea, false)
}

#[test]
fn by_local_discovery_for_qbittorrent() -> Result<()> {
    neighbours(Client::Qbittorrent, Client::Quelea, false)
}

#[test]
fn by_local_discovery_for_aria2() -> Result<()> {
    neighbours(Client::Aria2, Client::Quelea, false)
}

#[test]
fn by_local_discovery_of_another_quelea() -> Result<()> {
    neighbours(Client::Quelea, Client::Quelea, true)
}

#[test]
fn by_local_discovery_over_ipv6() -> Result<()> {
    Scenario::run(&[Client::Quelea], |scenario| {
        let (payload, torrent) = scenario.publish_alone(Layout::Padded)?;
        let hosts = [scenario.network.host()?, scenario.network.host()?];
        let mut jobs = Vec::new();
        for (number, (host, folder)) in (1..).zip(hosts.iter().zip(["seed", "downloads"])) {
            let address = Ipv6Addr::new(0xfd83, 0, 0, 0, 0, 0, 0, number);
            if !host.add_address(address)? {
                programs::notice("skipped: loopback hosts have no IPv6 address each");
                return Ok(());
            }
            let listen = SocketAddr::new(address.into(), 16_881);
            let folder = scenario.scratch.folder(folder)?;
            jobs.push(Job { listen, discovery: Discovery::LSD, ..scenario.job(host, &torrent, folder) });
        }
        payload.copy_to(&jobs[0].folder)?;
        let _seed = Client::Quelea.seed(&jobs[0])?;
        Client::Quelea.leech(&jobs[1])?.must_complete()?;
        payload.check_alone(&jobs[1].folder)
    })
}

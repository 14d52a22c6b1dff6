//! One test's world, and the two transfers that most tests are.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;

use crate::client::{Client, Discovery, Job, Running};
use crate::network::{Host, Network};
use crate::payload::{Layout, Payload, Wanted};
use crate::programs;
use crate::scratch::Scratch;
use crate::tls;
use crate::torrent::Torrent;
use crate::tracker::{self, Protocol, Tracker};
use crate::wait;

/// Where clients listen; every host has an address of its own.
const PORT: u16 = 16_881;

/// Hosts and a folder for one test.
pub struct Scenario {
    /// Everything that the test writes.
    pub scratch: Scratch,
    /// The hosts.
    pub network: Network,
}

impl Scenario {
    /// Runs `test` in a world of its own; a failure shows the ends of all logs.
    ///
    /// Without the programs that `clients` need it is skipped, in CI it fails.
    pub fn run(clients: &[Client], test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let mut missing: Vec<_> = clients.iter().filter_map(|client| client.missing()).collect();
        // libtorrent makes the torrents, whoever transfers them.
        missing.extend(Client::Libtorrent.missing());
        let beside = [tracker::PROGRAM, "setpriv"];
        missing.extend(beside.into_iter().filter(|program| programs::find(program).is_none()));
        missing.sort_unstable();
        missing.dedup();
        if !programs::may_run(&missing)? {
            return Ok(());
        }
        let scenario = Self { scratch: Scratch::new()?, network: Network::new()? };
        let outcome = test(&scenario);
        if outcome.is_err() {
            // Where standard error is closed nobody reads.
            let _ = std::io::stderr().write_all(scenario.scratch.log_tails().as_bytes());
        }
        outcome
    }

    /// All `seeds` serve one torrent of this shape; `leech` finds them by a tracker and gets every byte.
    pub fn transfer(seeds: &[Client], leech: Client, layout: Layout, protocol: Protocol) -> Result<()> {
        let clients = [seeds, &[leech]].concat();
        Self::run(&clients, |scenario| scenario.transfer_here(seeds, (leech, false), layout, protocol))
    }

    /// The same, but the leech has nothing but a magnet link with the tracker.
    pub fn transfer_by_magnet(
        seeds: &[Client],
        leech: Client,
        layout: Layout,
        protocol: Protocol,
    ) -> Result<()> {
        let clients = [seeds, &[leech]].concat();
        Self::run(&clients, |scenario| scenario.transfer_here(seeds, (leech, true), layout, protocol))
    }

    fn transfer_here(
        &self,
        seeds: &[Client],
        (leech, by_magnet): (Client, bool),
        layout: Layout,
        protocol: Protocol,
    ) -> Result<()> {
        let (payload, torrent, mut tracker) = self.publish(layout, protocol)?;
        let leech_host = self.network.host()?;
        let downloads = self.scratch.folder("downloads")?;
        // On loopback Transmission drops the seeds that the tracker names: they come to it.
        let seeds_come = leech == Client::Transmission && self.network.is_loopback();
        let leech_job = Job { by_magnet, ..self.job(&leech_host, &torrent, downloads.clone()) };
        let early = if seeds_come { Some(leech.leech(&leech_job)?) } else { None };

        let hosts = seeds.iter().map(|_| self.network.host()).collect::<Result<Vec<_>>>()?;
        let mut running = Vec::new();
        for (seed, host) in seeds.iter().zip(&hosts) {
            let folder = self.scratch.folder(&format!("seed-{}", host.address))?;
            payload.copy_to(&folder)?;
            let mut job = self.job(host, &torrent, folder);
            if seeds_come && seed.takes_peers() {
                job.peers.push(leech_job.listen);
            }
            running.push(seed.seed(&job)?);
        }
        tracker.await_seeds(seeds.len())?;

        let mut download = match early {
            Some(download) => download,
            None => leech.leech(&leech_job)?,
        };
        download.must_complete()?;
        drop(download);
        running.iter_mut().try_for_each(Running::must_run)?;
        match leech {
            Client::Quelea => {
                payload.check_alone(&downloads)?;
                tracker.await_farewell(seeds.len())
            }
            // The others keep control files and padding beside the payload, and die without a word.
            Client::Libtorrent | Client::Aria2 | Client::Qbittorrent | Client::Rtorrent => {
                payload.check(&downloads, Wanted::All)
            }
            // It never makes a file into which it writes nothing.
            Client::Transmission => payload.check(&downloads, Wanted::WithBytes),
        }
    }

    /// Quelea serves Quelea, which find each other by a tracker behind TLS.
    ///
    /// All run on one host: what comes through TLS comes from the tracker's own address, as far as it can see.
    pub fn transfer_through_tls() -> Result<()> {
        if programs::find(tls::PROGRAM).is_none() {
            return programs::may_run(&[tls::PROGRAM]).map(|_| ());
        }
        Self::run(&[Client::Quelea], |scenario| {
            let (payload, torrent, mut tracker) = scenario.publish(Layout::Single, Protocol::Https)?;
            let front = tls::Front::start(&scenario.scratch, tracker.host())?;
            let host = tracker.host().clone();
            let job = |folder| -> Result<Job<'_>> {
                let address = IpAddr::from(host.address);
                let listen = SocketAddr::new(address, host.free_port(address)?);
                let authority = Some(front.authority.clone());
                Ok(Job {
                    listen,
                    authority,
                    ..scenario.job(&host, &torrent, scenario.scratch.folder(folder)?)
                })
            };
            let seed_job = job("seed")?;
            payload.copy_to(&seed_job.folder)?;
            let _seed = Client::Quelea.seed(&seed_job)?;
            tracker.await_seeds(1)?;
            let leech_job = job("downloads")?;
            Client::Quelea.leech(&leech_job)?.must_complete()?;
            payload.check_alone(&leech_job.folder)?;
            tracker.await_farewell(1)
        })
    }

    /// One host, `::1` on both sides, no tracker: the leech is told of the seed, or the seed of the leech.
    pub fn transfer_over_ipv6(seed: Client, leech: Client) -> Result<()> {
        Self::run(&[seed, leech], |scenario| {
            let (payload, torrent, _tracker) = scenario.publish(Layout::Hybrid, Protocol::Http)?;
            let host = scenario.network.host()?;
            let address = IpAddr::from(Ipv6Addr::LOCALHOST);
            let job = |folder| -> Result<Job<'_>> {
                let listen = SocketAddr::new(address, host.free_port(address)?);
                Ok(Job { listen, ..scenario.job(&host, &torrent, scenario.scratch.folder(folder)?) })
            };
            let seed_job = job("seed")?;
            payload.copy_to(&seed_job.folder)?;
            let _seed = seed.seed(&seed_job)?;
            wait::until("the seed to listen", wait::LIMIT, || host.connect(seed_job.listen))?;
            let mut leech_job = job("downloads")?;
            leech_job.peers.push(seed_job.listen);
            leech.leech(&leech_job)?.must_complete()?;
            payload.check(&leech_job.folder, Wanted::All)
        })
    }

    /// A payload, its torrent, and a tracker that serves it.
    pub fn publish(&self, layout: Layout, protocol: Protocol) -> Result<(Payload, Torrent, Tracker)> {
        let host = self.network.host()?;
        let folder = self.scratch.folder("payload")?;
        let payload = Payload::write(layout, 1, &folder)?;
        let file = self.scratch.file("test.torrent");
        let torrent = Torrent::make(&payload, &folder, file, &tracker::announce_url(&host, protocol))?;
        let tracker = Tracker::start(&self.scratch, host, &torrent)?;
        Ok((payload, torrent, tracker))
    }

    /// A payload and a torrent that names no tracker.
    pub fn publish_alone(&self, layout: Layout) -> Result<(Payload, Torrent)> {
        let folder = self.scratch.folder("payload")?;
        let payload = Payload::write(layout, 1, &folder)?;
        let torrent = Torrent::make(&payload, &folder, self.scratch.file("test.torrent"), "")?;
        Ok((payload, torrent))
    }

    /// A part in the transfer of `torrent`, with the host's own address and no peers named.
    pub fn job<'a>(&'a self, host: &'a Host, torrent: &'a Torrent, folder: PathBuf) -> Job<'a> {
        let listen = SocketAddr::new(host.address.into(), PORT);
        Job {
            scratch: &self.scratch,
            host,
            listen,
            torrent,
            by_magnet: false,
            folder,
            peers: Vec::new(),
            nodes: Vec::new(),
            authority: None,
            discovery: Discovery::default(),
            max_download: None,
            max_upload: None,
        }
    }
}

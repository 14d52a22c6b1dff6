//! The network comes and goes under a Quelea that downloads: it finds its way back without a restart.
//!
//! Each test needs hosts with interfaces of their own; where hosts are mere loopback addresses there is nothing to pull.
#![allow(missing_docs)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use quelea_interop::Client::{self, Libtorrent, Quelea};
use quelea_interop::Protocol::{Http, Udp};
use quelea_interop::client::Running;
use quelea_interop::network::Host;
use quelea_interop::payload::Wanted;
use quelea_interop::told::Told;
use quelea_interop::tracker::Tracker;
use quelea_interop::{Layout, Scenario, programs, quelea, wait};

/// So slow that nothing is over before it has happened, in bytes a second.
const UPLINK: u64 = 2 << 20;

/// What is to have arrived before the network goes, in bytes.
const BEGINNING: u64 = 4 << 20;

/// Runs `test` where hosts have interfaces.
fn with_interfaces(test: impl FnOnce(&Scenario) -> Result<()>) -> Result<()> {
    Scenario::run(&[Libtorrent, Quelea], |scenario| {
        if scenario.network.is_loopback() {
            programs::notice("skipped: hosts are loopback addresses");
            return Ok(());
        }
        test(scenario)
    })
}

/// Waits until it is told that so many bytes are there.
fn await_bytes(quelea: &mut Running<'_>, told: &mut Told, wanted: u64) -> Result<()> {
    wait::until(&format!("{wanted} bytes to be there"), wait::LIMIT, || {
        quelea.process().must_run()?;
        told.read_on()?;
        Ok((told.latest.wanted_have >= wanted).then_some(()))
    })
    .with_context(|| format!("{:?}", told.latest))
}

/// Waits until it has given all its connections up.
fn await_solitude(quelea: &mut Running<'_>, told: &mut Told) -> Result<()> {
    wait::until("dead connections to be given up", wait::LIMIT, || {
        quelea.process().must_run()?;
        told.read_on()?;
        Ok((told.latest.peers_connected == 0).then_some(()))
    })
    .with_context(|| format!("{:?}", told.latest))
}

/// Takes the network away twice, and gives it back, while one Quelea downloads.
fn survive(unplug: fn(&Host) -> Result<()>, plug_in: fn(&Host) -> Result<()>) -> Result<()> {
    with_interfaces(|scenario| {
        let (payload, torrent, mut tracker) = scenario.publish(Layout::Single, Udp)?;
        let (host, seed_host) = (scenario.network.host()?, scenario.network.host()?);
        seed_host.limit_uplink(UPLINK)?;
        let seed_job = scenario.job(&seed_host, &torrent, scenario.scratch.folder("seed")?);
        payload.copy_to(&seed_job.folder)?;
        let _seed = Libtorrent.seed(&seed_job)?;
        tracker.await_seeds(1)?;
        let job = scenario.job(&host, &torrent, scenario.scratch.folder("downloads")?);
        let mut leech = Quelea.leech(&job)?;
        let mut told = Told::new(quelea::log(&job, "leech"));
        for _ in 0..2 {
            let wanted = told.latest.wanted_have + BEGINNING;
            await_bytes(&mut leech, &mut told, wanted)?;
            unplug(&host)?;
            await_solitude(&mut leech, &mut told)?;
            ensure!(!told.complete, "it was over before the network was gone");
            plug_in(&host)?;
        }
        leech.must_complete()?;
        told.read_on()?;
        ensure!(told.complaints.is_empty(), "it complains: {:?}", told.complaints);
        payload.check_alone(&job.folder)?;
        tracker.await_farewell(1)
    })
}

#[test]
fn an_interface_goes_down_and_comes_up() -> Result<()> {
    survive(Host::unplug, Host::plug_in)
}

#[test]
fn an_address_goes_and_comes_back() -> Result<()> {
    survive(Host::lose_address, Host::find_address)
}

/// While it sleeps its peer goes without a word that could reach it, and another stands in its place.
#[test]
fn the_machine_sleeps_and_wakes_among_strangers() -> Result<()> {
    with_interfaces(|scenario| {
        let (payload, torrent, mut tracker) = scenario.publish(Layout::Single, Udp)?;
        let (host, seed_host) = (scenario.network.host()?, scenario.network.host()?);
        seed_host.limit_uplink(UPLINK)?;
        let seed_job = scenario.job(&seed_host, &torrent, scenario.scratch.folder("seed")?);
        payload.copy_to(&seed_job.folder)?;
        let seed = Libtorrent.seed(&seed_job)?;
        tracker.await_seeds(1)?;
        let job = scenario.job(&host, &torrent, scenario.scratch.folder("downloads")?);
        let mut leech = Quelea.leech(&job)?;
        let mut told = Told::new(quelea::log(&job, "leech"));
        await_bytes(&mut leech, &mut told, BEGINNING)?;

        leech.process().put_to_sleep()?;
        host.unplug()?;
        drop(seed);
        let _seed = Libtorrent.seed(&seed_job)?;
        wait::until("the seed to listen", wait::LIMIT, || seed_host.connect(seed_job.listen))?;
        host.plug_in()?;
        leech.process().wake()?;

        told.read_on()?;
        ensure!(!told.complete, "it was over before it slept");
        leech.must_complete()?;
        told.read_on()?;
        ensure!(told.complaints.is_empty(), "it complains: {:?}", told.complaints);
        payload.check_alone(&job.folder)
    })
}

#[test]
fn a_tracker_that_is_dead_at_first_is_asked_until_it_lives() -> Result<()> {
    with_interfaces(|scenario| {
        let (payload, torrent, tracker) = scenario.publish(Layout::Padded, Http)?;
        let tracker_host = tracker.host().clone();
        drop(tracker);
        let (host, seed_host) = (scenario.network.host()?, scenario.network.host()?);
        let job = scenario.job(&host, &torrent, scenario.scratch.folder("downloads")?);
        let mut leech = Quelea.leech(&job)?;
        wait::until("the tracker to be missed", wait::LIMIT, || {
            leech.process().must_run()?;
            let log = std::fs::read_to_string(quelea::log(&job, "leech"))?;
            Ok(log.contains(r#""event":"tracker""#).then_some(()))
        })?;
        let mut tracker = Tracker::start(&scenario.scratch, tracker_host, &torrent)?;
        let seed_job = scenario.job(&seed_host, &torrent, scenario.scratch.folder("seed")?);
        payload.copy_to(&seed_job.folder)?;
        let _seed = Libtorrent.seed(&seed_job)?;
        tracker.await_seeds(1)?;
        leech.must_complete()?;
        payload.check_alone(&job.folder)?;
        tracker.await_farewell(1)
    })
}

/// Quelea seeds and downloads on hosts that know nothing of IPv4, bound to no address.
#[test]
fn where_there_is_ipv6_alone_it_serves_and_fetches() -> Result<()> {
    for (seed, leech) in [(Libtorrent, Quelea), (Quelea, Libtorrent), (Quelea, Quelea)] {
        with_interfaces(|scenario| {
            let (payload, torrent, _tracker) = scenario.publish(Layout::Hybrid, Http)?;
            let (seed_host, leech_host) = (scenario.network.host()?, scenario.network.host()?);
            let (seed_address, leech_address) = (seed_host.move_to_ipv6()?, leech_host.move_to_ipv6()?);
            let listens = |client: Client, address: Ipv6Addr| {
                if client == Quelea { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { address.into() }
            };
            let mut seed_job = scenario.job(&seed_host, &torrent, scenario.scratch.folder("seed")?);
            let at = SocketAddr::new(seed_address.into(), seed_job.listen.port());
            seed_job.listen.set_ip(listens(seed, seed_address));
            payload.copy_to(&seed_job.folder)?;
            let _seed = seed.seed(&seed_job)?;
            wait::until("the seed to listen", wait::LIMIT, || leech_host.connect(at))?;
            let mut leech_job = scenario.job(&leech_host, &torrent, scenario.scratch.folder("downloads")?);
            leech_job.listen.set_ip(listens(leech, leech_address));
            leech_job.peers.push(at);
            leech.leech(&leech_job)?.must_complete()?;
            payload.check(&leech_job.folder, Wanted::All)
        })?;
    }
    Ok(())
}

//! Limits of a transfer hold against clients of the field: it is no faster than it may be, and about as fast.
#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use quelea_interop::Client::{self, Libtorrent, Quelea};
use quelea_interop::client::Job;
use quelea_interop::payload::Wanted;
use quelea_interop::{Layout, Protocol, Scenario};

/// KiB a second.
const LIMIT: u32 = 600;

#[test]
fn a_download_from_libtorrent_is_no_faster_than_its_limit() -> Result<()> {
    takes_its_time(Libtorrent, Quelea)
}

#[test]
fn an_upload_to_libtorrent_is_no_faster_than_its_limit() -> Result<()> {
    takes_its_time(Quelea, Libtorrent)
}

/// Transfers about 4 MiB; the one that is Quelea has the limit.
fn takes_its_time(seed: Client, leech: Client) -> Result<()> {
    Scenario::run(&[seed, leech], |scenario| {
        let (payload, torrent, mut tracker) = scenario.publish(Layout::Small, Protocol::Http)?;
        let (seed_host, leech_host) = (scenario.network.host()?, scenario.network.host()?);
        let folder = scenario.scratch.folder("seed")?;
        payload.copy_to(&folder)?;
        let limit = |client: Client| (client == Quelea).then_some(LIMIT);
        let seed_job = Job { max_upload: limit(seed), ..scenario.job(&seed_host, &torrent, folder) };
        let mut serving = seed.seed(&seed_job)?;
        tracker.await_seeds(1)?;

        let downloads = scenario.scratch.folder("downloads")?;
        let length = payload.length();
        let began = Instant::now();
        let leech_job =
            Job { max_download: limit(leech), ..scenario.job(&leech_host, &torrent, downloads.clone()) };
        leech.leech(&leech_job)?.must_complete()?;
        let took = began.elapsed();
        serving.must_run()?;
        payload.check(&downloads, Wanted::All)?;

        let least = Duration::from_secs_f64(length as f64 / f64::from(LIMIT * 1024));
        ensure!(took >= least.mul_f64(0.9), "{length} bytes in {took:?}, and {least:?} is the least");
        // It finds its peer, and this machine may be busy.
        ensure!(took <= least * 3 + Duration::from_secs(30), "{length} bytes in {took:?} of {least:?}");
        Ok(())
    })
}

//! The library asks a real tracker for its counts.
#![allow(missing_docs)]

use anyhow::{Context, Result};
use quelea::{AddTorrent, Session, Settings, SwarmSize};
use quelea_interop::Protocol::{Http, Udp};
use quelea_interop::client::Client;
use quelea_interop::{Layout, Protocol, Scenario, wait};

#[test]
fn over_http() -> Result<()> {
    seeds_and_leeches_are_counted(Http)
}

#[test]
fn over_udp() -> Result<()> {
    seeds_and_leeches_are_counted(Udp)
}

/// One seed, and a leech that lacks everything, so that what it sees are both.
fn seeds_and_leeches_are_counted(protocol: Protocol) -> Result<()> {
    Scenario::run(&[Client::Quelea], |scenario| {
        let (payload, torrent, mut tracker) = scenario.publish(Layout::Single, protocol)?;
        let seed_host = scenario.network.host()?;
        let seed_job = scenario.job(&seed_host, &torrent, scenario.scratch.folder("seed")?);
        payload.copy_to(&seed_job.folder)?;
        let _seed = Client::Quelea.seed(&seed_job)?;
        tracker.await_seeds(1)?;

        let host = scenario.network.host()?;
        let folder = scenario.scratch.folder("watcher")?;
        host.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            runtime.block_on(async {
                let mut settings = Settings::new(folder);
                settings.bind = vec![host.address.into()];
                // Without peers it stays a leech for as long as the test looks.
                settings.max_peers = 0;
                let session = Session::start(settings)?;
                let watched = session.add(AddTorrent::from_file(&torrent.file)?).await?;
                let deadline = wait::LIMIT.as_millis() / 50;
                let mut last = Vec::new();
                for _ in 0..deadline {
                    last = watched.scrape().await;
                    let right = |counts: &SwarmSize| counts.seeds == 1 && counts.leechers == 1;
                    if last.iter().any(|scrape| scrape.counts.as_ref().is_ok_and(right)) {
                        session.close().await;
                        return Ok(());
                    }
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                session.close().await;
                Err(anyhow::anyhow!("the tracker counts {last:?}"))
            })
        })?
        .context("no counts")
    })
}

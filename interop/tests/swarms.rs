//! Mixed swarms: one seed, and all six clients as leechers of the same 64 MiB, who stay when they are complete.
//!
//! Every host has the same uplink, the seed twice that, so narrow that the uplinks and not the machine decide how
//! long it takes: the fluid limit is 19 s, in which the processors do next to nothing. What is compared is compared
//! within one run:
//!
//! - Quelea is not starved: it is complete not later than twice the median of the others. It starts last, and every
//!   clock starts with the first, so that what the others need for their start is counted against it.
//! - Quelea starves no one: until the last is complete, at least half as many bytes have left its host as have left
//!   the other leechers' in the mean. The kernel counts them at each host's interface, so that no client's own
//!   figures are believed.
//! - All complete, and every byte is checked.
//!
//! On loopback uplinks can be neither limited nor counted: there the last of these is all that is asked.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quelea_interop::Client::{self, Aria2, Libtorrent, Qbittorrent, Quelea, Rtorrent, Transmission};
use quelea_interop::Protocol::Http;
use quelea_interop::payload::Wanted;
use quelea_interop::{Layout, Scenario, programs, quelea, wait};

/// A leecher's uplink, in bytes a second; the seed has twice that.
const UPLINK: u64 = 5 << 19;

/// The bytes of the payload.
const COPY: u64 = 64 << 20;
/// What a super-seed may send, in hundredths of a copy, headers and all.
const MOST_COPIES_HUNDREDTHS: u64 = 175;

/// In the order in which they start. Transmission is first, because on loopback it dials no one.
const LEECHERS: [Client; 6] = [Transmission, Qbittorrent, Rtorrent, Libtorrent, Aria2, Quelea];

/// How one leecher fared.
#[derive(Debug)]
struct Fate {
    client: Client,
    /// From the start of the first until it had everything.
    took: Duration,
    /// The bytes that had left its host when the last one had everything.
    sent: Option<u64>,
}

#[test]
fn quelea_seeds_all_six() -> Result<()> {
    all_complete_and_share(Quelea)
}

#[test]
fn libtorrent_seeds_all_six() -> Result<()> {
    all_complete_and_share(Libtorrent)
}

fn all_complete_and_share(seed: Client) -> Result<()> {
    Scenario::run(&LEECHERS, |scenario| {
        let (payload, torrent, mut tracker) = scenario.publish(Layout::Single, Http)?;
        let seed_host = scenario.network.host()?;
        seed_host.limit_uplink(2 * UPLINK)?;
        let seed_job = scenario.job(&seed_host, &torrent, scenario.scratch.folder("seed")?);
        payload.copy_to(&seed_job.folder)?;
        let hosts = LEECHERS.iter().map(|_| scenario.network.host()).collect::<Result<Vec<_>>>()?;
        let mut jobs = Vec::new();
        for (client, host) in LEECHERS.iter().zip(&hosts) {
            host.limit_uplink(UPLINK)?;
            jobs.push(scenario.job(host, &torrent, scenario.scratch.folder(&format!("{client:?}"))?));
        }
        let mut seeder = seed.seed(&seed_job)?;
        tracker.await_seeds(1)?;

        let began = now();
        let mut members = Vec::new();
        for (client, job) in LEECHERS.iter().zip(&jobs) {
            members.push((client.share(job).with_context(|| format!("{client:?} does not start"))?, None));
        }
        wait::until("all six to have everything", wait::LIMIT, || {
            seeder.process().must_run()?;
            for (member, took) in &mut members {
                if took.is_none() && member.is_complete()? {
                    *took = Some(began.elapsed());
                }
            }
            Ok(members.iter().all(|(_, took)| took.is_some()).then_some(()))
        })
        .with_context(|| {
            format!("{:?} took {:?}", LEECHERS, members.iter().map(|(_, took)| took).collect::<Vec<_>>())
        })?;
        let mut fates = Vec::new();
        for ((client, host), (_, took)) in LEECHERS.iter().zip(&hosts).zip(&members) {
            let took = took.context("all were complete")?;
            fates.push(Fate { client: *client, took, sent: host.sent()? });
        }
        drop(members);
        for (client, job) in LEECHERS.iter().zip(&jobs) {
            payload.check(&job.folder, Wanted::All).with_context(|| format!("{client:?}"))?;
        }
        programs::notice(&fates.iter().map(Fate::line).collect::<Vec<_>>().join("; "));
        judge(&fates)
    })
}

/// The seed's host has twice the uplink of a leecher's, so that a usual seed gives a copy or two more than it must.
#[test]
fn a_super_seed_gives_all_others_everything_for_little_more_than_a_copy() -> Result<()> {
    const OTHERS: [Client; 4] = [Transmission, Qbittorrent, Libtorrent, Aria2];
    Scenario::run(&OTHERS, |scenario| {
        let (payload, torrent, mut tracker) = scenario.publish(Layout::Single, Http)?;
        let seed_host = scenario.network.host()?;
        seed_host.limit_uplink(2 * UPLINK)?;
        let seed_job = scenario.job(&seed_host, &torrent, scenario.scratch.folder("seed")?);
        payload.copy_to(&seed_job.folder)?;
        let hosts = OTHERS.iter().map(|_| scenario.network.host()).collect::<Result<Vec<_>>>()?;
        let mut jobs = Vec::new();
        for (client, host) in OTHERS.iter().zip(&hosts) {
            host.limit_uplink(UPLINK)?;
            jobs.push(scenario.job(host, &torrent, scenario.scratch.folder(&format!("{client:?}"))?));
        }
        let mut seeder = quelea::super_seed(&seed_job)?;
        tracker.await_seeds(1)?;
        let mut members = Vec::new();
        for (client, job) in OTHERS.iter().zip(&jobs) {
            members.push((client.share(job).with_context(|| format!("{client:?} does not start"))?, false));
        }
        wait::until("all four to have everything", wait::LIMIT, || {
            seeder.must_run()?;
            for (member, complete) in &mut members {
                *complete = *complete || member.is_complete()?;
            }
            Ok(members.iter().all(|(_, complete)| *complete).then_some(()))
        })?;
        let sent = seed_host.sent()?;
        drop(members);
        for (client, job) in OTHERS.iter().zip(&jobs) {
            payload.check(&job.folder, Wanted::All).with_context(|| format!("{client:?}"))?;
        }
        let Some(sent) = sent else { return Ok(()) };
        programs::notice(&format!("the super-seed sent {} MiB", sent >> 20));
        ensure!(sent <= COPY * MOST_COPIES_HUNDREDTHS / 100, "the super-seed sent {} MiB", sent >> 20);
        Ok(())
    })
}

/// Whether Quelea got what the others got, and gave what they gave.
fn judge(fates: &[Fate]) -> Result<()> {
    let told: Vec<String> = fates.iter().map(Fate::line).collect();
    let (ours, others): (Vec<&Fate>, Vec<&Fate>) = fates.iter().partition(|fate| fate.client == Quelea);
    let ours = ours.first().context("Quelea takes part")?;
    let sent = others.iter().map(|fate| fate.sent).collect::<Option<Vec<u64>>>();
    let (Some(sent), Some(our_sent)) = (sent, ours.sent) else { return Ok(()) };
    let mut took: Vec<Duration> = others.iter().map(|fate| fate.took).collect();
    took.sort_unstable();
    let median = *took.get(took.len() / 2).context("others take part")?;
    let mean = sent.iter().sum::<u64>() / u64::try_from(sent.len())?;
    ensure!(ours.took <= 2 * median, "Quelea is starved: {told:?}");
    ensure!(our_sent >= mean / 2, "Quelea starves the others: {told:?}");
    Ok(())
}

impl Fate {
    fn line(&self) -> String {
        let sent = self.sent.map_or_else(String::new, |sent| format!(", {} MiB sent", sent >> 20));
        format!("{:?} {:.1} s{sent}", self.client, self.took.as_secs_f64())
    }
}

#[allow(clippy::disallowed_methods, reason = "real processes run in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Fates of which Quelea's is the last.
fn fates(took: [u64; 6], sent: [Option<u64>; 6]) -> Vec<Fate> {
    let each = LEECHERS.iter().zip(took).zip(sent);
    each.map(|((client, took), sent)| Fate { client: *client, took: Duration::from_secs(took), sent })
        .collect()
}

#[test]
fn a_starved_quelea_is_seen() {
    let sent = [Some(50); 6];
    judge(&fates([90, 20, 21, 20, 22, 42], sent)).unwrap();
    let error = judge(&fates([90, 20, 21, 20, 22, 45], sent)).unwrap_err();
    assert!(error.to_string().contains("is starved"), "{error}");
}

#[test]
fn a_quelea_that_starves_others_is_seen() {
    let took = [20; 6];
    judge(&fates(took, [Some(2), Some(98), Some(50), Some(50), Some(50), Some(25)])).unwrap();
    let error =
        judge(&fates(took, [Some(50), Some(50), Some(50), Some(50), Some(50), Some(24)])).unwrap_err();
    assert!(error.to_string().contains("starves the others"), "{error}");
    judge(&fates(took, [None; 6])).unwrap();
}

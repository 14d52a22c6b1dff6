//! The clients of the field download from a Quelea that seeds what lies in its folder.
//!
//! aria2 1.36 and Transmission 3.00, which Debian has, take no hybrid torrents; they get the padded half of one.
#![allow(missing_docs)]

use anyhow::{Result, bail, ensure};
use quelea_interop::Client::{Aria2, Libtorrent, Qbittorrent, Quelea, Rtorrent, Transmission};
use quelea_interop::Layout::{Hybrid, Many, Padded, Single};
use quelea_interop::Protocol::{Http, Udp};
use quelea_interop::client::Running;
use quelea_interop::{Scenario, quelea, wait};

#[test]
fn single_file_to_libtorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Libtorrent, Single, Udp)
}

#[test]
fn single_file_to_transmission() -> Result<()> {
    Scenario::transfer(&[Quelea], Transmission, Single, Http)
}

#[test]
fn single_file_to_aria2() -> Result<()> {
    Scenario::transfer(&[Quelea], Aria2, Single, Udp)
}

#[test]
fn single_file_to_qbittorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Qbittorrent, Single, Http)
}

#[test]
fn single_file_to_rtorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Rtorrent, Single, Http)
}

#[test]
fn many_files_to_libtorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Libtorrent, Many, Http)
}

#[test]
fn many_files_to_transmission() -> Result<()> {
    Scenario::transfer(&[Quelea], Transmission, Many, Udp)
}

#[test]
fn many_files_to_aria2() -> Result<()> {
    Scenario::transfer(&[Quelea], Aria2, Many, Http)
}

#[test]
fn many_files_to_qbittorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Qbittorrent, Many, Udp)
}

#[test]
fn many_files_to_rtorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Rtorrent, Many, Udp)
}

#[test]
fn hybrid_to_libtorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Libtorrent, Hybrid, Udp)
}

#[test]
fn hybrid_to_qbittorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Qbittorrent, Hybrid, Http)
}

#[test]
fn hybrid_to_rtorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Rtorrent, Hybrid, Udp)
}

#[test]
fn padded_files_to_transmission() -> Result<()> {
    Scenario::transfer(&[Quelea], Transmission, Padded, Udp)
}

#[test]
fn padded_files_to_aria2() -> Result<()> {
    Scenario::transfer(&[Quelea], Aria2, Padded, Http)
}

#[test]
fn padded_files_to_qbittorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Qbittorrent, Padded, Udp)
}

#[test]
fn padded_files_to_rtorrent() -> Result<()> {
    Scenario::transfer(&[Quelea], Rtorrent, Padded, Http)
}

#[test]
fn over_ipv6_to_libtorrent() -> Result<()> {
    Scenario::transfer_over_ipv6(Quelea, Libtorrent)
}

#[test]
fn over_ipv6_to_qbittorrent() -> Result<()> {
    Scenario::transfer_over_ipv6(Quelea, Qbittorrent)
}

#[test]
fn an_interrupted_seed_says_goodbye_to_its_tracker() -> Result<()> {
    Scenario::run(&[Quelea], |scenario| {
        let (payload, torrent, mut tracker) = scenario.publish(Hybrid, Http)?;
        let (host, folder) = (scenario.network.host()?, scenario.scratch.folder("seed")?);
        payload.copy_to(&folder)?;
        let job = scenario.job(&host, &torrent, folder.clone());
        let Running::Program(mut seed) = Quelea.seed(&job)? else { bail!("quelea is a program") };
        tracker.await_seeds(1)?;
        let status = seed.interrupt(wait::LIMIT)?;
        ensure!(status.success(), "all that was asked for was done, yet: {status}");
        tracker.await_nobody()?;
        let state = quelea::state(&job, "seed");
        ensure!(state.join("state.db").is_file(), "nothing is remembered in {}", state.display());
        payload.check_alone(&folder)
    })
}

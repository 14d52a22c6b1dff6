//! The harness itself, with libtorrent in Quelea's part: what fails here is no fault of Quelea's.
#![allow(missing_docs)]

use anyhow::Result;
use quelea_interop::Client::{Aria2, Libtorrent, Qbittorrent, Rtorrent, Transmission};
use quelea_interop::Layout::{Hybrid, Many, Padded, Single};
use quelea_interop::Protocol::{Http, Udp};
use quelea_interop::Scenario;

#[test]
fn libtorrent_downloads_from_all_together() -> Result<()> {
    Scenario::transfer(&[Aria2, Transmission, Libtorrent, Qbittorrent, Rtorrent], Libtorrent, Many, Udp)
}

#[test]
fn libtorrent_downloads_padded_files_from_all_together() -> Result<()> {
    Scenario::transfer(&[Aria2, Transmission, Libtorrent], Libtorrent, Padded, Http)
}

#[test]
fn libtorrent_downloads_a_hybrid_from_libtorrent() -> Result<()> {
    Scenario::transfer(&[Libtorrent], Libtorrent, Hybrid, Udp)
}

#[test]
fn transmission_downloads_from_libtorrent() -> Result<()> {
    Scenario::transfer(&[Libtorrent], Transmission, Single, Http)
}

#[test]
fn aria2_downloads_from_libtorrent() -> Result<()> {
    Scenario::transfer(&[Libtorrent], Aria2, Many, Udp)
}

#[test]
fn libtorrent_downloads_from_qbittorrent() -> Result<()> {
    Scenario::transfer(&[Qbittorrent], Libtorrent, Hybrid, Http)
}

#[test]
fn libtorrent_downloads_from_rtorrent() -> Result<()> {
    Scenario::transfer(&[Rtorrent], Libtorrent, Padded, Udp)
}

#[test]
fn qbittorrent_downloads_from_libtorrent() -> Result<()> {
    Scenario::transfer(&[Libtorrent], Qbittorrent, Hybrid, Udp)
}

#[test]
fn rtorrent_downloads_from_libtorrent() -> Result<()> {
    Scenario::transfer(&[Libtorrent], Rtorrent, Many, Http)
}

#[test]
fn libtorrent_downloads_from_libtorrent_over_ipv6() -> Result<()> {
    Scenario::transfer_over_ipv6(Libtorrent, Libtorrent)
}

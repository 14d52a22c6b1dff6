//! Magnet links with a tracker: Quelea asks the clients of the field for metadata, and each of them asks Quelea.
//!
//! Of the version 1 half of a torrent: what else a hybrid has is told by its info dictionary.
#![allow(missing_docs)]

use anyhow::Result;
use quelea_interop::Client::{Aria2, Libtorrent, Qbittorrent, Quelea, Rtorrent, Transmission};
use quelea_interop::Layout::{Hybrid, Many, Single};
use quelea_interop::Protocol::{Http, Udp};
use quelea_interop::Scenario;

#[test]
fn from_libtorrent() -> Result<()> {
    Scenario::transfer_by_magnet(&[Libtorrent], Quelea, Many, Http)
}

#[test]
fn from_transmission() -> Result<()> {
    Scenario::transfer_by_magnet(&[Transmission], Quelea, Single, Udp)
}

#[test]
fn from_aria2() -> Result<()> {
    Scenario::transfer_by_magnet(&[Aria2], Quelea, Many, Http)
}

#[test]
fn from_qbittorrent() -> Result<()> {
    Scenario::transfer_by_magnet(&[Qbittorrent], Quelea, Hybrid, Udp)
}

#[test]
fn from_rtorrent() -> Result<()> {
    Scenario::transfer_by_magnet(&[Rtorrent], Quelea, Many, Http)
}

#[test]
fn from_quelea() -> Result<()> {
    Scenario::transfer_by_magnet(&[Quelea], Quelea, Hybrid, Udp)
}

#[test]
fn from_all_together() -> Result<()> {
    let seeds = [Libtorrent, Transmission, Aria2, Qbittorrent, Rtorrent, Quelea];
    Scenario::transfer_by_magnet(&seeds, Quelea, Many, Udp)
}

#[test]
fn to_libtorrent() -> Result<()> {
    Scenario::transfer_by_magnet(&[Quelea], Libtorrent, Hybrid, Http)
}

#[test]
fn to_transmission() -> Result<()> {
    Scenario::transfer_by_magnet(&[Quelea], Transmission, Many, Udp)
}

#[test]
fn to_aria2() -> Result<()> {
    Scenario::transfer_by_magnet(&[Quelea], Aria2, Single, Http)
}

#[test]
fn to_qbittorrent() -> Result<()> {
    Scenario::transfer_by_magnet(&[Quelea], Qbittorrent, Many, Udp)
}

#[test]
fn to_rtorrent() -> Result<()> {
    Scenario::transfer_by_magnet(&[Quelea], Rtorrent, Single, Http)
}

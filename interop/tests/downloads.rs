//! Quelea downloads from the clients of the field, whom it finds by a tracker.
//!
//! aria2 1.36 and Transmission 3.00, which Debian has, take no hybrid torrents; they get the padded half of one.
#![allow(missing_docs)]

use anyhow::Result;
use quelea_interop::Client::{Aria2, Libtorrent, Qbittorrent, Quelea, Rtorrent, Transmission};
use quelea_interop::Layout::{Hybrid, Many, Padded, Single};
use quelea_interop::Protocol::{Http, Udp};
use quelea_interop::Scenario;

#[test]
fn single_file_from_libtorrent() -> Result<()> {
    Scenario::transfer(&[Libtorrent], Quelea, Single, Http)
}

#[test]
fn single_file_from_transmission() -> Result<()> {
    Scenario::transfer(&[Transmission], Quelea, Single, Udp)
}

#[test]
fn single_file_from_aria2() -> Result<()> {
    Scenario::transfer(&[Aria2], Quelea, Single, Http)
}

#[test]
fn single_file_from_qbittorrent() -> Result<()> {
    Scenario::transfer(&[Qbittorrent], Quelea, Single, Udp)
}

#[test]
fn single_file_from_rtorrent() -> Result<()> {
    Scenario::transfer(&[Rtorrent], Quelea, Single, Udp)
}

#[test]
fn single_file_from_all_together() -> Result<()> {
    let seeds = [Libtorrent, Transmission, Aria2, Qbittorrent, Rtorrent];
    Scenario::transfer(&seeds, Quelea, Single, Udp)
}

#[test]
fn many_files_from_libtorrent() -> Result<()> {
    Scenario::transfer(&[Libtorrent], Quelea, Many, Udp)
}

#[test]
fn many_files_from_transmission() -> Result<()> {
    Scenario::transfer(&[Transmission], Quelea, Many, Http)
}

#[test]
fn many_files_from_aria2() -> Result<()> {
    Scenario::transfer(&[Aria2], Quelea, Many, Udp)
}

#[test]
fn many_files_from_qbittorrent() -> Result<()> {
    Scenario::transfer(&[Qbittorrent], Quelea, Many, Http)
}

#[test]
fn many_files_from_rtorrent() -> Result<()> {
    Scenario::transfer(&[Rtorrent], Quelea, Many, Http)
}

#[test]
fn many_files_from_all_together() -> Result<()> {
    Scenario::transfer(&[Libtorrent, Transmission, Aria2], Quelea, Many, Http)
}

#[test]
fn hybrid_from_libtorrent() -> Result<()> {
    Scenario::transfer(&[Libtorrent], Quelea, Hybrid, Http)
}

#[test]
fn hybrid_from_qbittorrent() -> Result<()> {
    Scenario::transfer(&[Qbittorrent], Quelea, Hybrid, Udp)
}

#[test]
fn hybrid_from_rtorrent() -> Result<()> {
    Scenario::transfer(&[Rtorrent], Quelea, Hybrid, Http)
}

#[test]
fn hybrid_from_several_together() -> Result<()> {
    Scenario::transfer(&[Libtorrent, Quelea, Qbittorrent, Rtorrent], Quelea, Hybrid, Udp)
}

#[test]
fn padded_files_from_transmission() -> Result<()> {
    Scenario::transfer(&[Transmission], Quelea, Padded, Http)
}

#[test]
fn padded_files_from_aria2() -> Result<()> {
    Scenario::transfer(&[Aria2], Quelea, Padded, Udp)
}

#[test]
fn padded_files_from_qbittorrent() -> Result<()> {
    Scenario::transfer(&[Qbittorrent], Quelea, Padded, Http)
}

#[test]
fn padded_files_from_rtorrent() -> Result<()> {
    Scenario::transfer(&[Rtorrent], Quelea, Padded, Udp)
}

#[test]
fn padded_files_from_all_together() -> Result<()> {
    Scenario::transfer(&[Libtorrent, Transmission, Aria2], Quelea, Padded, Http)
}

#[test]
fn many_files_from_quelea() -> Result<()> {
    Scenario::transfer(&[Quelea], Quelea, Many, Udp)
}

#[test]
fn over_ipv6_from_libtorrent() -> Result<()> {
    Scenario::transfer_over_ipv6(Libtorrent, Quelea)
}

#[test]
fn over_ipv6_from_qbittorrent() -> Result<()> {
    Scenario::transfer_over_ipv6(Qbittorrent, Quelea)
}

#[test]
fn over_ipv6_from_quelea() -> Result<()> {
    Scenario::transfer_over_ipv6(Quelea, Quelea)
}

#[test]
fn through_a_tracker_behind_tls() -> Result<()> {
    Scenario::transfer_through_tls()
}

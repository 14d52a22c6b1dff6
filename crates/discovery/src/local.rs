//! Local discovery (BEP 14): neighbours are told which torrents we take part in, and tell us.
//!
//! Owns: what is announced when, and what of the neighbours' announcements is heeded. Does not own: sockets, network
//! interfaces, and the torrents. Private torrents are never entered here (BEP 27).
//!
//! # Contract
//! The driver calls [`Local::poll_announcement`] whenever [`Local::timeout`] is due, sends what it gets to both groups
//! on every interface, and hands every datagram to [`Local::handle_datagram`].

pub mod message;

use crate::{Allowance, Scope};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
pub use message::{InfoHash, Search};
use quelea_time::Time;

/// How often a torrent is announced (BEP 14).
const INTERVAL: Duration = Duration::from_secs(300);
/// A torrent may be announced early, where there is room beside others.
const EARLY: Duration = Duration::from_secs(150);
/// Torrents that begin within this time share a datagram.
const GATHER: Duration = Duration::from_millis(500);
/// A torrent is announced a second time after this, lest the first was lost.
const AGAIN: Duration = Duration::from_secs(5);
/// How often a datagram may be sent (BEP 14) ...
const PACE: Duration = Duration::from_secs(60);
/// ... but for these, when the session begins.
const FIRST: u32 = 3;

/// Datagrams of one address that are read at once, and in the long run: clients send one for each torrent.
const OF_ONE: (u32, Duration) = (64, Duration::from_millis(250));
/// Datagrams of all addresses, likewise.
const OF_ALL: (u32, Duration) = (256, Duration::from_millis(20));
/// Addresses whose datagrams are counted at a time; more are not heeded.
const ADDRESSES: usize = 256;
/// Peers that are remembered to have been heard.
const REMEMBERED: usize = 1_024;
/// A peer that was not heard for this long is a new one.
const FORGOTTEN: Duration = Duration::from_secs(1_800);

/// The addresses of a network that an interface of ours is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// Any address of it.
    pub address: IpAddr,
    /// How many of its first bits all addresses of it have.
    pub prefix: u8,
}

impl Network {
    /// Whether an address is one of this network.
    pub fn contains(self, ip: IpAddr) -> bool {
        let alike = match (self.address, ip.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(ip)) => (ours.to_bits() ^ ip.to_bits()).leading_zeros(),
            (IpAddr::V6(ours), IpAddr::V6(ip)) => (ours.to_bits() ^ ip.to_bits()).leading_zeros(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        // The unspecified network is everywhere: no network of ours.
        self.prefix > 0 && alike >= u32::from(self.prefix)
    }
}

/// A neighbour that takes part in torrents of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Where it listens.
    pub peer: SocketAddr,
    /// The torrents, each with whether this neighbour was not heard of it for half an hour.
    pub torrents: Vec<(InfoHash, bool)>,
}

/// Why a datagram is not heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It comes from outside the local network.
    #[error("from outside the local network")]
    Far,
    /// Its sender, or all together, send too many.
    #[error("too many datagrams")]
    TooMany,
    /// It is our own.
    #[error("our own")]
    Own,
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] message::Malformed),
    /// It concerns none of our torrents.
    #[error("other torrents")]
    OtherTorrents,
}

/// The talk with the neighbours about all torrents of a session.
#[derive(Debug)]
pub struct Local {
    port: u16,
    cookie: String,
    networks: Vec<Network>,
    torrents: BTreeMap<InfoHash, Row>,
    /// When each torrent is announced; those that never were come first.
    queue: BTreeSet<(bool, Time, InfoHash)>,
    first_left: u32,
    next: Time,
    of_all: Allowance,
    of_one: BTreeMap<IpAddr, Allowance>,
    remembered: BTreeMap<(InfoHash, SocketAddr), Time>,
}

#[derive(Debug)]
struct Row {
    due: Time,
    announced: u32,
    /// How often it came first in its datagram: some clients read no further.
    led: u32,
}

impl Row {
    const fn place(&self, hash: InfoHash) -> (bool, Time, InfoHash) {
        (self.announced > 0, self.due, hash)
    }
}

impl Local {
    /// No torrents yet. `port` is where peers are taken; `seed` makes the cookie, which no other session should have.
    pub fn new(port: u16, seed: u64) -> Self {
        Self {
            port,
            cookie: format!("quelea-{seed:016x}"),
            networks: Vec::new(),
            torrents: BTreeMap::new(),
            queue: BTreeSet::new(),
            first_left: FIRST,
            next: Time::ZERO,
            of_all: Allowance::FULL,
            of_one: BTreeMap::new(),
            remembered: BTreeMap::new(),
        }
    }

    /// A torrent is announced from here on.
    pub fn enter(&mut self, now: Time, hash: InfoHash) {
        if !self.torrents.contains_key(&hash) {
            let row = Row { due: now + GATHER, announced: 0, led: 0 };
            self.queue.insert(row.place(hash));
            self.torrents.insert(hash, row);
        }
    }

    /// A torrent is announced no more.
    pub fn leave(&mut self, hash: InfoHash) {
        if let Some(row) = self.torrents.remove(&hash) {
            self.queue.remove(&row.place(hash));
            self.remembered.retain(|(other, _), _| *other != hash);
        }
    }

    /// The networks that we are in are these. Where one is new, all torrents are announced anew.
    pub fn set_networks(&mut self, now: Time, networks: Vec<Network>) {
        if networks.iter().any(|network| !self.networks.contains(network)) {
            self.queue.clear();
            for (hash, row) in &mut self.torrents {
                row.due = row.due.min(now + GATHER);
                self.queue.insert(row.place(*hash));
            }
        }
        self.networks = networks;
    }

    /// When [`Local::poll_announcement`] has something, if nothing happens before.
    pub fn timeout(&self) -> Option<Time> {
        let known = (true, Time::ZERO, [0; 20]);
        let firsts = [self.queue.first(), self.queue.range(known..).next()];
        let due = firsts.into_iter().flatten().map(|(_, due, _)| *due).min()?;
        Some(if self.first_left > 0 { due } else { due.max(self.next) })
    }

    /// The announcement that is to be sent at this moment, if any.
    pub fn poll_announcement(&mut self, now: Time) -> Option<Search> {
        if self.timeout().is_none_or(|due| due > now) {
            return None;
        }
        if now < self.next {
            self.first_left -= 1;
        }
        self.next = now + PACE;
        let soon = self.queue.iter().filter(|(known, due, _)| *due <= if *known { now + EARLY } else { now });
        let mut hashes: Vec<InfoHash> = soon.take(message::HASHES).map(|(_, _, hash)| *hash).collect();
        hashes.sort_by_key(|hash| self.torrents.get(hash).map(|row| row.led));
        for (number, hash) in hashes.iter().enumerate() {
            let Some(row) = self.torrents.get_mut(hash) else { continue };
            self.queue.remove(&row.place(*hash));
            row.led += u32::from(number == 0);
            row.announced = row.announced.saturating_add(1);
            row.due = now + if row.announced == 1 { AGAIN } else { INTERVAL };
            self.queue.insert(row.place(*hash));
        }
        Some(Search { port: self.port, hashes, cookie: Some(self.cookie.clone()) })
    }

    /// A datagram came from this address: who takes part in which of our torrents.
    ///
    /// # Errors
    /// An [`Ignored`] says why it is not heeded.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Heard, Ignored> {
        if !self.is_near(from.ip()) {
            return Err(Ignored::Far);
        }
        if !self.may_be_read(now, from.ip()) {
            return Err(Ignored::TooMany);
        }
        let search = Search::parse(datagram)?;
        if search.cookie.as_ref() == Some(&self.cookie) {
            return Err(Ignored::Own);
        }
        let mut peer = from;
        peer.set_port(search.port);
        let ours = search.hashes.into_iter().filter(|hash| self.torrents.contains_key(hash));
        let ours: Vec<InfoHash> = ours.collect();
        if ours.is_empty() {
            return Err(Ignored::OtherTorrents);
        }
        let torrents = ours.into_iter().map(|hash| (hash, self.remember(now, hash, peer))).collect();
        Ok(Heard { peer, torrents })
    }

    /// Whether an address is in the local network.
    fn is_near(&self, ip: IpAddr) -> bool {
        matches!(Scope::of(ip), Scope::Machine | Scope::Link | Scope::Site)
            || self.networks.iter().any(|network| network.contains(ip))
    }

    fn may_be_read(&mut self, now: Time, ip: IpAddr) -> bool {
        if !self.of_one.contains_key(&ip) && self.of_one.len() >= ADDRESSES {
            self.of_one.retain(|_, allowance| !allowance.is_full(now));
            if self.of_one.len() >= ADDRESSES {
                return false;
            }
        }
        let of_one = self.of_one.entry(ip).or_insert(Allowance::FULL);
        of_one.take(now, OF_ONE.0, OF_ONE.1) && self.of_all.take(now, OF_ALL.0, OF_ALL.1)
    }

    /// Whether the peer was not heard for long; then it is remembered, if there is room.
    fn remember(&mut self, now: Time, hash: InfoHash, peer: SocketAddr) -> bool {
        let is_fresh = |heard: &Time| now.since(*heard) < FORGOTTEN;
        if let Some(heard) = self.remembered.get_mut(&(hash, peer)) {
            let is_new = !is_fresh(heard);
            *heard = now;
            return is_new;
        }
        if self.remembered.len() >= REMEMBERED {
            self.remembered.retain(|_, heard| is_fresh(heard));
        }
        let room = self.remembered.len() < REMEMBERED;
        if room {
            self.remembered.insert((hash, peer), now);
        }
        room
    }
}

#[cfg(test)]
mod tests;

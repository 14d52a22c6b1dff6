//! The addresses that a torrent has heard of, and which of them to try next.

mod entry;
#[cfg(test)]
mod tests;

use crate::filter::Filter;
use crate::network::{host, host_range};
use crate::priority::priority;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use entry::{Entry, Index, Place, Rank, Worth};
pub use entry::{Parting, Source};
use quelea_digest::crc32c;
use quelea_time::Time;

/// Addresses that a list holds at most where nothing else is said (libtorrent, `max_peerlist_size`).
pub const CAPACITY: usize = 3000;
/// Addresses of one [`host`] that are held at most: several peers share an address behind a NAT, but thousands of ports,
/// or of addresses in 64 bits of IPv6, are one stranger who wants us to knock at a door. Loopback addresses have no such
/// limit.
pub const OF_ONE_HOST: usize = 16;
/// Addresses of a list that come before the rest of every other list.
pub const TURN: usize = 8;
/// Bans that are held at most; the oldest is forgotten first.
pub const BANS: usize = 1000;
/// Addresses of our own that are held at most; the oldest is forgotten first.
pub const OWN_ADDRESSES: usize = 16;

/// Why an address is not taken.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No peer can listen there: port 0, or an address that is unspecified, multicast or broadcast.
    #[error("no peer can listen at such an address")]
    Impossible,
    /// It is our own.
    #[error("it is our own address")]
    Own,
    /// It was banned for what it did.
    #[error("it is banned")]
    Banned,
    /// The address filter blocks it.
    #[error("the address filter blocks it")]
    Filtered,
    /// Many addresses of the same host are known.
    #[error("{OF_ONE_HOST} addresses of this host are known")]
    Crowded,
    /// The list is full of addresses that are worth at least as much.
    #[error("the peer list is full")]
    Full,
    /// The torrent is private, and neither its trackers nor the user named it (BEP 27).
    #[error("a private torrent's peers are named by its trackers")]
    Private,
}

/// The addresses of one torrent's peers.
///
/// A connection is told of from its beginning to its end: [`dialled`](Self::dialled), then
/// [`connected`](Self::connected) or [`failed`](Self::failed), then [`disconnected`](Self::disconnected); one that
/// came from outside: [`accepted`](Self::accepted), perhaps [`listens_on`](Self::listens_on), then
/// [`disconnected`](Self::disconnected). [`candidate`](Self::candidate) gives the address to dial next, and never
/// one that is being dialled, connected, banned, blocked, waiting for its next try, or (while we seed) a seed.
///
/// Every call takes time in the logarithm of the list's length, but those that change a rule for all addresses.
/// The same calls with the same seed give the same answers. IPv6 addresses that map an IPv4 address are that
/// address throughout.
#[derive(Debug)]
pub struct PeerList {
    capacity: usize,
    seed: u64,
    entries: BTreeMap<SocketAddr, Entry>,
    /// Idle addresses that may be tried.
    ready: BTreeSet<(Rank, SocketAddr)>,
    /// Idle addresses that may be tried later.
    waiting: BTreeSet<(Time, SocketAddr)>,
    /// Addresses that may be forgotten: idle, and not named by the user.
    evictable: BTreeSet<(Worth, SocketAddr)>,
    /// Connections from outside, with the address of ours that they are the peer of, when it is known.
    incoming: BTreeMap<SocketAddr, Option<SocketAddr>>,
    banned: BTreeSet<IpAddr>,
    bans_in_order: VecDeque<IpAddr>,
    own: VecDeque<SocketAddr>,
    external_v4: Option<SocketAddr>,
    external_v6: Option<SocketAddr>,
    filter: Arc<Filter>,
    seeding: bool,
    private: bool,
}

impl PeerList {
    /// An empty list of at most `capacity` addresses. `seed` decides the order of equals while our own address
    /// is unknown, so that not every client dials in the same order.
    pub fn new(capacity: usize, seed: u64) -> Self {
        let filter = Arc::new(Filter::EMPTY);
        Self {
            capacity,
            seed,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            evictable: BTreeSet::new(),
            incoming: BTreeMap::new(),
            banned: BTreeSet::new(),
            bans_in_order: VecDeque::new(),
            own: VecDeque::new(),
            external_v4: None,
            external_v6: None,
            filter,
            seeding: false,
            private: false,
        }
    }

    /// Takes an address; true when it was not known. A known address remembers its best source, and one that
    /// was given up is tried again earlier.
    ///
    /// # Errors
    /// A [`Refusal`] says why the address was not taken.
    pub fn add(&mut self, now: Time, address: SocketAddr, source: Source) -> Result<bool, Refusal> {
        self.add_in_turn(now, address, source, 0)
    }

    /// Takes the addresses that were told together: an answer of a tracker, a message of a peer. Those that are
    /// not taken are left out.
    ///
    /// Lists take turns of [`TURN`] addresses each, so that one of thousands that lead nowhere holds up no other.
    pub fn add_all(&mut self, now: Time, addresses: impl IntoIterator<Item = SocketAddr>, source: Source) {
        for (number, address) in addresses.into_iter().enumerate() {
            // A refusal concerns that address alone.
            let _ = self.add_in_turn(now, address, source, turn_of(number));
        }
    }

    /// Takes contacts of a peer, of which it says whether they have everything. `earlier` is how many it named
    /// before: what one peer names is one list, in however many messages, so that none of them crowds out the rest.
    ///
    /// How many there were. What is said of an address that is known already changes nothing.
    pub fn add_contacts(
        &mut self,
        now: Time,
        contacts: impl IntoIterator<Item = (SocketAddr, bool)>,
        source: Source,
        earlier: usize,
    ) -> usize {
        let mut named = 0;
        for (address, seed) in contacts {
            let turn = turn_of(earlier.saturating_add(named));
            named += 1;
            if self.add_in_turn(now, address, source, turn) == Ok(true) && seed {
                self.set_seed(address, true);
            }
        }
        named
    }

    fn add_in_turn(
        &mut self,
        now: Time,
        address: SocketAddr,
        source: Source,
        turn: u16,
    ) -> Result<bool, Refusal> {
        let address = canonical(address);
        self.check(address)?;
        let counts = !self.private || source.is_of_private_torrents();
        if self.entries.contains_key(&address) {
            if counts {
                self.change(address, |entry| entry.told(now, source, turn));
            }
            return Ok(false);
        }
        if !counts {
            return Err(Refusal::Private);
        }
        let crowd = self.entries.range(addresses_of(address.ip())).take(OF_ONE_HOST).count();
        if source != Source::Manual && crowd == OF_ONE_HOST && !address.ip().is_loopback() {
            return Err(Refusal::Crowded);
        }
        let entry = Entry::new(now, source, turn);
        if self.entries.len() >= self.capacity {
            let least = self.evictable.first().copied();
            match least.filter(|(worth, _)| *worth < entry.worth()) {
                Some((_, least)) => self.forget(least),
                None => return Err(Refusal::Full),
            }
        }
        self.entries.insert(address, entry);
        self.change(address, |_| {});
        Ok(true)
    }

    /// The address to dial next: what the user named, then the fewest failures, the longest not tried, the
    /// earliest turn of its list, the best source, the highest canonical priority (BEP 40). The same one until it is [`dialled`](Self::dialled).
    pub fn candidate(&mut self, now: Time) -> Option<SocketAddr> {
        while let Some((due, address)) = self.waiting.first().copied().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, address));
            let priority = self.priority_of(address);
            if let Some(entry) = self.entries.get_mut(&address) {
                let rank = entry.rank(priority);
                entry.index = Index::Ready(rank);
                self.ready.insert((rank, address));
            }
        }
        self.ready.first().map(|(_, address)| *address)
    }

    /// When there will be a candidate if nothing happens: `now` if there is one; `None` for never.
    pub fn next_due(&self, now: Time) -> Option<Time> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.waiting.first().map(|(due, _)| now.max(*due))
    }

    /// An address with which a handshake was once exchanged, the longest not tried, though its time has not come:
    /// when nobody can be reached, that is no fault of theirs. Each is tried every 15 seconds, and after failures
    /// every minute.
    pub fn probe(&self, now: Time) -> Option<SocketAddr> {
        let ready = self.entries.iter().filter(|(_, entry)| entry.probe_due().is_some_and(|due| due <= now));
        ready.min_by_key(|(_, entry)| entry.probe_due()).map(|(address, _)| *address)
    }

    /// Forgets the failures of those with whom a handshake was once exchanged: our network was gone.
    pub fn forgive(&mut self, now: Time) {
        let failed = |entry: &Entry| entry.probe_due().is_some() && !entry.is_sound();
        self.change_all(failed, |entry| entry.forgive(now));
    }

    /// A connection to this address is being made.
    pub fn dialled(&mut self, now: Time, address: SocketAddr) {
        self.change(canonical(address), |entry| {
            if entry.place == Place::Idle {
                entry.dialled(now);
            }
        });
    }

    /// A handshake was exchanged with a peer that we dialled.
    pub fn connected(&mut self, now: Time, address: SocketAddr) {
        self.change(canonical(address), |entry| entry.connected(now));
    }

    /// An address that we dialled could not be reached, or gave no usable handshake.
    pub fn failed(&mut self, now: Time, address: SocketAddr) {
        self.change(canonical(address), |entry| {
            if entry.place == Place::Dialling {
                entry.failed(now);
            }
        });
    }

    /// A peer called us from `remote` and exchanged a handshake. Where it listens is not known from that.
    ///
    /// The number of such connections is the caller's to bound.
    pub fn accepted(&mut self, now: Time, remote: SocketAddr) {
        let remote = canonical(remote);
        let known = self.occupy(now, remote).then_some(remote);
        self.incoming.insert(remote, known);
    }

    /// The peer that called us from `remote` says that it listens on `port`: it can be dialled there when this
    /// connection has ended.
    ///
    /// False when a connection to that address exists or is being made, so that this one is perhaps its twin.
    ///
    /// # Errors
    /// A [`Refusal`] says why the address was not taken; the connection is not concerned.
    pub fn listens_on(&mut self, now: Time, remote: SocketAddr, port: u16) -> Result<bool, Refusal> {
        let remote = canonical(remote);
        if self.incoming.get(&remote) != Some(&None) {
            return Ok(true);
        }
        let listening = SocketAddr::new(remote.ip(), port);
        self.add(now, listening, Source::Incoming)?;
        let alone = self.occupy(now, listening);
        if alone {
            self.incoming.insert(remote, Some(listening));
        }
        Ok(alone)
    }

    /// A connection has ended: `address` is the one that was given to [`connected`](Self::connected) or
    /// [`accepted`](Self::accepted).
    pub fn disconnected(&mut self, now: Time, address: SocketAddr, how: Parting) {
        let address = canonical(address);
        let wanted = !self.seeding;
        let Some(address) = self.incoming.remove(&address).unwrap_or(Some(address)) else { return };
        self.change(address, |entry| {
            if entry.place != Place::Idle {
                entry.parted(now, how, wanted);
            }
        });
    }

    /// Remembers whether the peer at this address has everything, or wants nothing.
    pub fn set_seed(&mut self, address: SocketAddr, seed: bool) {
        let address = canonical(address);
        let address = self.incoming.get(&address).copied().flatten().unwrap_or(address);
        self.change(address, |entry| entry.seed = seed);
    }

    /// Says whether we want nothing any more: then seeds are not dialled, and a lost peer is not called back in
    /// haste. When something is wanted again, those who left in the meantime are called soon.
    pub fn set_seeding(&mut self, seeding: bool) {
        if self.seeding == seeding {
            return;
        }
        self.seeding = seeding;
        if seeding {
            self.change_all(|entry| entry.seed, |_| {});
        } else {
            self.change_all(|_| true, Entry::wanted);
        }
    }

    /// The torrent is private: from here on only those are dialled whom its trackers or the user name (BEP 27), and
    /// not even who called us.
    pub fn set_private(&mut self) {
        self.private = true;
    }

    /// Sets our own address as the world sees it, one a family. It is never dialled, and the order of BEP 40
    /// counts from it.
    pub fn set_external(&mut self, address: SocketAddr) {
        let address = canonical(address);
        let external = if address.is_ipv4() { &mut self.external_v4 } else { &mut self.external_v6 };
        if *external != Some(address) {
            *external = Some(address);
            self.exclude(address);
            self.change_all(|_| true, |_| {});
        }
    }

    /// Never dials this address: it turned out to be our own.
    pub fn exclude(&mut self, address: SocketAddr) {
        let address = canonical(address);
        if !self.own.contains(&address) {
            if self.own.len() == OWN_ADDRESSES {
                self.own.pop_front();
            }
            self.own.push_back(address);
        }
        self.forget(address);
    }

    /// Has nothing to do with this IP address any more, nor with others of the same [`host`]. Connections from and to it are the caller's to end.
    pub fn ban(&mut self, ip: IpAddr) {
        let host = host(ip);
        if !self.banned.insert(host) {
            return;
        }
        self.bans_in_order.push_back(host);
        if self.bans_in_order.len() > BANS
            && let Some(oldest) = self.bans_in_order.pop_front()
        {
            self.banned.remove(&oldest);
        }
        let of_ip: Vec<_> = self.entries.range(addresses_of(ip)).map(|(address, _)| *address).collect();
        for address in of_ip {
            self.forget(address);
        }
    }

    /// Takes a ban back.
    pub fn unban(&mut self, ip: IpAddr) {
        let host = host(ip);
        self.banned.remove(&host);
        self.bans_in_order.retain(|&banned| banned != host);
    }

    /// Whether the address filter blocks this IP address: a connection from it is not accepted.
    pub fn is_blocked(&self, ip: IpAddr) -> bool {
        self.filter.blocks(ip)
    }

    /// Whether this IP address is banned: a connection from it is not accepted.
    pub fn is_banned(&self, ip: IpAddr) -> bool {
        self.banned.contains(&host(ip))
    }

    /// Blocks addresses from here on, and forgets those that are known. Connections are the caller's to end.
    pub fn set_filter(&mut self, filter: Arc<Filter>) {
        self.filter = filter;
        let blocked = self.entries.keys().filter(|address| self.filter.blocks(address.ip()));
        for address in blocked.copied().collect::<Vec<_>>() {
            self.forget(address);
        }
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no address is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The addresses that did not fail when they were last tried, in a fixed order: what a later session begins with.
    pub fn sound(&self) -> impl Iterator<Item = SocketAddr> {
        self.sound_with_source().map(|(address, _)| address)
    }

    /// The same, each with the best of its sources.
    pub fn sound_with_source(&self) -> impl Iterator<Item = (SocketAddr, Source)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.is_sound())
            .map(|(address, entry)| (*address, entry.source))
    }

    fn check(&self, address: SocketAddr) -> Result<(), Refusal> {
        let ip = address.ip();
        let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast {
            Err(Refusal::Impossible)
        } else if self.own.contains(&address) {
            Err(Refusal::Own)
        } else if self.banned.contains(&host(ip)) {
            Err(Refusal::Banned)
        } else if self.filter.blocks(ip) {
            Err(Refusal::Filtered)
        } else {
            Ok(())
        }
    }

    /// Marks an idle address as connected; false when it is not known or not idle.
    fn occupy(&mut self, now: Time, address: SocketAddr) -> bool {
        let idle = self.entries.get(&address).is_some_and(|entry| entry.place == Place::Idle);
        if idle {
            self.change(address, |entry| entry.connected(now));
        }
        idle
    }

    /// Changes an entry and puts it where it belongs.
    fn change(&mut self, address: SocketAddr, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        match core::mem::replace(&mut entry.index, Index::Nowhere) {
            Index::Waiting(due) => self.waiting.remove(&(due, address)),
            Index::Ready(rank) => self.ready.remove(&(rank, address)),
            Index::Nowhere => false,
        };
        if let Some(worth) = entry.worth.take() {
            self.evictable.remove(&(worth, address));
        }
        change(entry);
        if entry.place != Place::Idle {
            return;
        }
        if !(self.seeding && entry.seed) {
            entry.index = Index::Waiting(entry.due);
            self.waiting.insert((entry.due, address));
        }
        if !entry.is_manual() {
            let worth = entry.worth();
            entry.worth = Some(worth);
            self.evictable.insert((worth, address));
        }
    }

    /// Changes those that are concerned, and puts each where it belongs by the rules of now.
    fn change_all(&mut self, concerns: impl Fn(&Entry) -> bool, change: impl Fn(&mut Entry)) {
        let concerned = self.entries.iter().filter(|(_, entry)| concerns(entry)).map(|(address, _)| *address);
        for address in concerned.collect::<Vec<_>>() {
            self.change(address, &change);
        }
    }

    fn forget(&mut self, address: SocketAddr) {
        // Out of the indices first: what is dialled stands in none.
        self.change(address, |entry| entry.place = Place::Dialling);
        self.entries.remove(&address);
    }

    fn priority_of(&self, address: SocketAddr) -> u32 {
        match if address.is_ipv4() { self.external_v4 } else { self.external_v6 } {
            Some(external) => priority(external, address),
            None => {
                let mut bytes = [0; 26];
                let ip = match address.ip() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    IpAddr::V6(ip) => ip.octets(),
                };
                let parts = [&self.seed.to_be_bytes()[..], &ip, &address.port().to_be_bytes()];
                for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
                    *to = *from;
                }
                crc32c(&bytes)
            }
        }
    }
}

/// The turn of an address of a list.
fn turn_of(number: usize) -> u16 {
    u16::try_from(number / TURN).unwrap_or(u16::MAX)
}

/// One notation for one address: no mapped IPv4, no flow label, and a scope only where it tells links apart.
fn canonical(address: SocketAddr) -> SocketAddr {
    match (address, address.ip().to_canonical()) {
        (SocketAddr::V6(v6), IpAddr::V6(ip)) => {
            let scope = if ip.is_unicast_link_local() { v6.scope_id() } else { 0 };
            SocketAddrV6::new(ip, v6.port(), 0, scope).into()
        }
        (SocketAddr::V6(_) | SocketAddr::V4(_), ip) => SocketAddr::new(ip, address.port()),
    }
}

/// Every address of the host that has this one, in the order that addresses have.
fn addresses_of(ip: IpAddr) -> core::ops::RangeInclusive<SocketAddr> {
    let v4 = |ip: Ipv4Addr, port| SocketAddr::from(SocketAddrV4::new(ip, port));
    let v6 = |ip: Ipv6Addr, port, rest| SocketAddr::from(SocketAddrV6::new(ip, port, rest, rest));
    let (first, last) = host_range(ip);
    let first = match first {
        IpAddr::V4(ip) => v4(ip, 0),
        IpAddr::V6(ip) => v6(ip, 0, 0),
    };
    let last = match last {
        IpAddr::V4(ip) => v4(ip, u16::MAX),
        IpAddr::V6(ip) => v6(ip, u16::MAX, u32::MAX),
    };
    first..=last
}

//! Who announced which torrent to us (BEP 5, BEP 33).

use super::Capacity;
use crate::Id;
use crate::bloom::Bloom;
use crate::id::is_local;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use fastrand::Rng;
use quelea_time::Time;

/// A peer that has not announced itself for this long is gone: clients do it every quarter of an hour or half.
const LIFE: Duration = Duration::from_secs(45 * 60);
/// Filters are made again when they are older than this.
const FILTERS: Duration = Duration::from_secs(60);
/// Torrents in one sample (BEP 51): what fits into a datagram.
const SAMPLE: usize = 20;
/// A host may be one peer in this many of the torrents that are kept.
const HOSTS: usize = 8;
/// A sample is another one after this long.
const SAMPLE_LIFE: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
struct Announced {
    address: SocketAddr,
    seed: bool,
    at: Time,
}

#[derive(Debug, Default)]
struct Torrent {
    /// One for each address (BEP 33, "Changed announce accounting").
    peers: Vec<Announced>,
    filters: Option<(Time, Bloom, Bloom)>,
}

/// Torrents and their peers.
#[derive(Debug)]
pub struct Peers {
    capacity: Capacity,
    torrents: BTreeMap<Id, Torrent>,
    count: usize,
    /// How many of them each host is.
    hosts: BTreeMap<[u8; 8], usize>,
    sample: Option<(Time, Vec<u8>)>,
}

impl Peers {
    /// Nobody yet.
    pub fn new(capacity: Capacity) -> Self {
        Self { capacity, torrents: BTreeMap::new(), count: 0, hosts: BTreeMap::new(), sample: None }
    }

    /// Torrents that have peers.
    pub fn torrents(&self) -> usize {
        self.torrents.len()
    }

    /// Peers in all.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether another peer of this torrent would be taken.
    pub fn takes(&self, info_hash: &Id) -> bool {
        match self.torrents.get(info_hash) {
            Some(torrent) => torrent.peers.len() < self.capacity.peers,
            None => true,
        }
    }

    /// A peer announced itself; whether it is kept. Where everything is full, the torrent with the fewest peers gives way
    /// to a new one.
    pub fn announce(&mut self, now: Time, info_hash: Id, address: SocketAddr, seed: bool) -> bool {
        let announced = Announced { address, seed, at: now };
        if let Some(torrent) = self.torrents.get_mut(&info_hash) {
            let same = |known: &&mut Announced| known.address.ip() == address.ip();
            if let Some(known) = torrent.peers.iter_mut().find(same) {
                *known = announced;
                return true;
            }
            if torrent.peers.len() >= self.capacity.peers {
                return false;
            }
        }
        let host = crate::id::host(address.ip());
        if self.hosts.get(&host).is_some_and(|&count| count >= (self.capacity.torrents / HOSTS).max(1)) {
            return false;
        }
        if !self.torrents.contains_key(&info_hash) && self.torrents.len() >= self.capacity.torrents {
            self.drop_smallest();
        }
        self.torrents.entry(info_hash).or_default().peers.push(announced);
        *self.hosts.entry(host).or_default() += 1;
        self.count += 1;
        if self.count > self.capacity.all_peers {
            self.drop_smallest();
        }
        true
    }

    fn drop_smallest(&mut self) {
        let smallest = self.torrents.iter().min_by_key(|(_, torrent)| torrent.peers.len());
        if let Some(info_hash) = smallest.map(|(info_hash, _)| *info_hash)
            && let Some(torrent) = self.torrents.remove(&info_hash)
        {
            self.count -= torrent.peers.len();
            for peer in torrent.peers {
                self.forget_host(peer.address.ip());
            }
        }
    }

    fn forget_host(&mut self, ip: IpAddr) {
        let host = crate::id::host(ip);
        if let Some(count) = self.hosts.get_mut(&host) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.hosts.remove(&host);
            }
        }
    }

    /// Some peers of a torrent, of the asker's family, chosen at random; rather no seeds, where they are not wanted.
    /// Nobody from afar hears of peers in our own network.
    pub fn some(
        &self,
        info_hash: &Id,
        asker: IpAddr,
        no_seeds: bool,
        count: usize,
        rng: &mut Rng,
    ) -> Vec<SocketAddr> {
        let Some(torrent) = self.torrents.get(info_hash) else { return Vec::new() };
        let from_afar = !is_local(asker);
        let may_hear = |peer: &&Announced| {
            peer.address.is_ipv6() == asker.is_ipv6() && !(from_afar && is_local(peer.address.ip()))
        };
        let mut chosen: Vec<&Announced> = torrent.peers.iter().filter(may_hear).collect();
        let count = count.min(chosen.len());
        if no_seeds {
            rng.shuffle(&mut chosen);
            chosen.sort_by_key(|peer| peer.seed);
        } else {
            for at in 0..count {
                let other = rng.usize(at..chosen.len());
                chosen.swap(at, other);
            }
        }
        chosen.into_iter().take(count).map(|peer| peer.address).collect()
    }

    /// Filters of the addresses of seeds and of the others (BEP 33); `None` for a torrent that nobody announced.
    pub fn filters(&mut self, now: Time, info_hash: &Id) -> Option<(Bloom, Bloom)> {
        let torrent = self.torrents.get_mut(info_hash)?;
        if let Some((made, seeds, peers)) = &torrent.filters
            && now.since(*made) < FILTERS
        {
            return Some((seeds.clone(), peers.clone()));
        }
        let (mut seeds, mut peers) = (Bloom::default(), Bloom::default());
        for peer in &torrent.peers {
            let filter = if peer.seed { &mut seeds } else { &mut peers };
            filter.insert(peer.address.ip());
        }
        torrent.filters = Some((now, seeds.clone(), peers.clone()));
        Some((seeds, peers))
    }

    /// Some torrents (BEP 51); of many the same ones for a while. The seconds until asking again is of use.
    pub fn sample(&mut self, now: Time, rng: &mut Rng) -> (Vec<u8>, i64) {
        if self.torrents.len() <= SAMPLE {
            let all = self.torrents.keys().flat_map(|info_hash| info_hash.0).collect();
            return (all, SAMPLE_LIFE.as_secs() as i64);
        }
        if let Some((made, sample)) = &self.sample
            && now.since(*made) < SAMPLE_LIFE
        {
            let left = SAMPLE_LIFE.saturating_sub(now.since(*made));
            return (sample.clone(), left.as_secs() as i64);
        }
        let mut known: Vec<&Id> = self.torrents.keys().collect();
        rng.shuffle(&mut known);
        let sample: Vec<u8> = known.into_iter().take(SAMPLE).flat_map(|info_hash| info_hash.0).collect();
        self.sample = Some((now, sample.clone()));
        (sample, SAMPLE_LIFE.as_secs() as i64)
    }

    /// Forgets who has not announced itself for long.
    pub fn expire(&mut self, now: Time) {
        self.keep(|peer| now.since(peer.at) < LIFE);
    }

    /// Forgets all but those at these addresses, in what scrapes are answered with as well.
    pub fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.keep(|peer| keep(peer.address.ip()));
        self.torrents.values_mut().for_each(|torrent| torrent.filters = None);
    }

    fn keep(&mut self, is_kept: impl Fn(&Announced) -> bool) {
        self.count = 0;
        self.hosts.clear();
        self.torrents.retain(|_, torrent| {
            torrent.peers.retain(&is_kept);
            self.count += torrent.peers.len();
            for peer in &torrent.peers {
                *self.hosts.entry(crate::id::host(peer.address.ip())).or_default() += 1;
            }
            !torrent.peers.is_empty()
        });
    }

    /// Whether a torrent's peer is known. For tests.
    pub fn knows(&self, info_hash: &Id, ip: IpAddr) -> bool {
        let torrent = self.torrents.get(info_hash);
        torrent.is_some_and(|torrent| torrent.peers.iter().any(|peer| peer.address.ip() == ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: u32) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from(number)), 6881)
    }

    const SMALL: Capacity = Capacity { torrents: 10, peers: 20, all_peers: 50, items: 1 };

    #[test]
    fn an_address_counts_once_and_its_latest_word_holds() {
        let mut peers = Peers::new(Capacity::default());
        let torrent = Id([1; 20]);
        peers.announce(Time::ZERO, torrent, address(1), false);
        peers.announce(Time::ZERO, torrent, SocketAddr::new(address(1).ip(), 7000), true);
        let some = peers.some(&torrent, address(9).ip(), false, 10, &mut Rng::with_seed(1));
        assert_eq!(some, [SocketAddr::new(address(1).ip(), 7000)]);
        let (seeds, others) = peers.filters(Time::ZERO, &torrent).unwrap();
        assert_ne!(seeds, Bloom::default());
        assert_eq!(others, Bloom::default());
    }

    #[test]
    fn nothing_grows_beyond_its_capacity() {
        let mut peers = Peers::new(SMALL);
        let mut rng = Rng::with_seed(1);
        for number in 0..5_000 {
            let torrent = Id([rng.u8(..40); 20]);
            peers.announce(Time::ZERO, torrent, address(number), false);
            assert!(peers.torrents() <= 10 && peers.len() <= 50);
            let counted: usize = peers.torrents.values().map(|torrent| torrent.peers.len()).sum();
            assert_eq!(counted, peers.len());
            assert_eq!(peers.hosts.values().sum::<usize>(), peers.len());
        }
    }

    #[test]
    fn who_is_silent_for_long_is_forgotten() {
        let mut peers = Peers::new(SMALL);
        let torrent = Id([1; 20]);
        peers.announce(Time::ZERO, torrent, address(1), false);
        peers.announce(Time::from_secs(2_000), torrent, address(2), false);
        peers.expire(Time::from_secs(2_701));
        assert!(!peers.knows(&torrent, address(1).ip()) && peers.knows(&torrent, address(2).ip()));
        peers.expire(Time::from_secs(10_000));
        assert!(peers.is_empty() && peers.torrents() == 0);
    }

    #[test]
    fn seeds_come_last_where_they_are_not_wanted() {
        let mut peers = Peers::new(Capacity::default());
        let torrent = Id([1; 20]);
        for number in 0..10 {
            peers.announce(Time::ZERO, torrent, address(number), number < 5);
        }
        let some = peers.some(&torrent, address(9).ip(), true, 5, &mut Rng::with_seed(1));
        assert!(some.iter().all(|peer| (5..10).any(|number| address(number) == *peer)), "{some:?}");
    }

    #[test]
    fn a_host_cannot_drive_out_the_others() {
        let mut peers = Peers::new(Capacity { torrents: 80, ..Capacity::default() });
        for number in 0..60 {
            assert!(peers.announce(Time::ZERO, Id([number; 20]), address(u32::from(number)), false));
        }
        let taken =
            (100..255).filter(|&number| peers.announce(Time::ZERO, Id([number; 20]), address(99), false));
        assert_eq!(taken.count(), 10);
        assert!((0..60).all(|number| peers.knows(&Id([number; 20]), address(u32::from(number)).ip())));
        peers.expire(Time::ZERO + LIFE);
        assert!(peers.hosts.is_empty());
    }

    #[test]
    fn peers_in_our_network_are_named_within_it_alone() {
        let mut peers = Peers::new(Capacity::default());
        let torrent = Id([1; 20]);
        let near: SocketAddr = "192.168.0.7:6881".parse().unwrap();
        peers.announce(Time::ZERO, torrent, near, false);
        let mut rng = Rng::with_seed(1);
        assert!(peers.some(&torrent, "203.0.113.1".parse().unwrap(), false, 9, &mut rng).is_empty());
        assert_eq!(peers.some(&torrent, "192.168.0.9".parse().unwrap(), false, 9, &mut rng), [near]);
    }

    #[test]
    fn a_sample_of_few_torrents_is_all_of_them_at_once() {
        let mut peers = Peers::new(Capacity::default());
        let mut rng = Rng::with_seed(1);
        for number in 0..SAMPLE as u8 {
            peers.announce(Time::ZERO, Id([number; 20]), address(1), false);
            assert_eq!(peers.sample(Time::ZERO, &mut rng).0.len(), 20 * (usize::from(number) + 1));
        }
    }

    #[test]
    fn a_sample_stays_the_same_for_a_while() {
        let mut peers = Peers::new(Capacity::default());
        let mut rng = Rng::with_seed(1);
        for number in 0..100 {
            peers.announce(Time::ZERO, Id([number; 20]), address(1), false);
        }
        let (first, interval) = peers.sample(Time::ZERO, &mut rng);
        assert_eq!((first.len(), interval), (20 * SAMPLE, 600));
        assert_eq!(peers.sample(Time::from_secs(100), &mut rng), (first.clone(), 500));
        assert_ne!(peers.sample(Time::from_secs(601), &mut rng).0, first);
    }
}

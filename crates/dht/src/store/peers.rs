//! Who announced which torrent to us (BEP 5, BEP 33).

use super::Capacity;
use crate::Id;
use crate::bloom::Bloom;
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
    sample: Option<(Time, Vec<u8>)>,
}

impl Peers {
    /// Nobody yet.
    pub fn new(capacity: Capacity) -> Self {
        Self { capacity, torrents: BTreeMap::new(), count: 0, sample: None }
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

    /// A peer announced itself. Where everything is full, the torrent with the fewest peers gives way to a new one.
    pub fn announce(&mut self, now: Time, info_hash: Id, address: SocketAddr, seed: bool) {
        if !self.torrents.contains_key(&info_hash) && self.torrents.len() >= self.capacity.torrents {
            self.drop_smallest();
        }
        let torrent = self.torrents.entry(info_hash).or_default();
        let announced = Announced { address, seed, at: now };
        if let Some(known) = torrent.peers.iter_mut().find(|known| known.address.ip() == address.ip()) {
            *known = announced;
            return;
        }
        if torrent.peers.len() >= self.capacity.peers {
            return;
        }
        torrent.peers.push(announced);
        self.count += 1;
        if self.count > self.capacity.all_peers {
            self.drop_smallest();
        }
    }

    fn drop_smallest(&mut self) {
        let smallest = self.torrents.iter().min_by_key(|(_, torrent)| torrent.peers.len());
        if let Some(info_hash) = smallest.map(|(info_hash, _)| *info_hash)
            && let Some(torrent) = self.torrents.remove(&info_hash)
        {
            self.count -= torrent.peers.len();
        }
    }

    /// Some peers of a torrent, of one family, chosen at random; rather no seeds, where they are not wanted.
    pub fn some(
        &self,
        info_hash: &Id,
        v6: bool,
        no_seeds: bool,
        count: usize,
        rng: &mut Rng,
    ) -> Vec<SocketAddr> {
        let Some(torrent) = self.torrents.get(info_hash) else { return Vec::new() };
        let family = torrent.peers.iter().filter(|peer| peer.address.is_ipv6() == v6);
        let mut chosen: Vec<&Announced> = family.collect();
        rng.shuffle(&mut chosen);
        if no_seeds {
            chosen.sort_by_key(|peer| peer.seed);
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

    /// Some torrents (BEP 51), the same ones for a while; the seconds until they will be others.
    pub fn sample(&mut self, now: Time, rng: &mut Rng) -> (Vec<u8>, i64) {
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
        let mut count = 0;
        self.torrents.retain(|_, torrent| {
            torrent.peers.retain(|peer| now.since(peer.at) < LIFE);
            count += torrent.peers.len();
            !torrent.peers.is_empty()
        });
        self.count = count;
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
        let some = peers.some(&torrent, false, false, 10, &mut Rng::with_seed(1));
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
        let some = peers.some(&torrent, false, true, 5, &mut Rng::with_seed(1));
        assert!(some.iter().all(|peer| (5..10).any(|number| address(number) == *peer)), "{some:?}");
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

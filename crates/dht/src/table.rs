//! The routing table: nodes that have answered us, many near our own id and few far from it (BEP 5, "Routing Table").
//!
//! A bucket holds the nodes that have a certain number of leading bits in common with our id. Only nodes that answered a
//! query of ours come in, so that nobody fills the table by sending. An address stands in it once, and a bucket takes
//! two nodes of one network at most: who wants to fill it needs many networks. Where a bucket is full, a node that may
//! have its id (BEP 42) takes the place of one that may not. Who answers under one name here and another there, so as to be
//! near everything, is kept out.

use crate::Id;
use crate::id::{is_local, network};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use fastrand::Rng;
use quelea_time::Time;

/// Nodes of a bucket (BEP 5, "K").
pub const K: usize = 8;
/// A node that has answered within this time is good (BEP 5).
pub const FRESH: Duration = Duration::from_secs(15 * 60);
/// A router lets datagrams to a host behind it pass for some time after that host has sent something; no longer than this,
/// mostly.
const HOLE: Duration = Duration::from_secs(180);
/// After this many unanswered queries in a row a node is bad.
const FAILURES: u8 = 3;
/// A node that changed its name is not relied upon for this long, unless it may have the new one.
const FICKLE: Duration = Duration::from_secs(15 * 60);
/// Nodes of that kind that are remembered.
const MAX_FICKLE: usize = 128;
/// Nodes of one network in a bucket.
const PER_NETWORK: usize = 2;
/// The first buckets, which hold the most of all nodes, are larger, so that look-ups begin nearer to their goal.
const FIRST_SIZES: [usize; 5] = [64, 32, 32, 16, 16];

/// A node that has answered us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it is called.
    pub id: Id,
    /// Where it is.
    pub address: SocketAddr,
    /// When it last answered.
    pub answered: Time,
    /// When it was last asked by the table's upkeep.
    pub asked: Time,
    /// Queries in a row that it left unanswered.
    pub failures: u8,
    /// Whether it may have its id (BEP 42).
    pub fits: bool,
    /// When a query of it last came.
    pub heard: Option<Time>,
    /// It has answered when it had sent nothing for long, or before it had sent anything: so others reach it as well.
    pub reachable: bool,
}

impl Entry {
    fn is_bad(&self) -> bool {
        self.failures >= FAILURES
    }

    /// It answered.
    fn answered(&mut self, now: Time) {
        let last = self.heard.map_or(self.answered, |heard| heard.max(self.answered));
        self.reachable |= now.since(last) >= HOLE;
        self.answered = now;
        self.failures = 0;
    }
}

#[derive(Debug, Default)]
struct Bucket {
    nodes: Vec<Entry>,
    /// Nodes that answered while the bucket was full, the latest last.
    spare: Vec<Entry>,
    /// When a node of it last answered, or a look-up into it began.
    touched: Time,
}

impl Bucket {
    fn has_room_in_network(&self, ip: IpAddr) -> bool {
        let neighbours = self.nodes.iter().filter(|entry| network(entry.address.ip()) == network(ip));
        is_local(ip) || neighbours.count() < PER_NETWORK
    }
}

/// The routing table of one node.
#[derive(Debug)]
pub struct Table {
    own: Id,
    /// By the number of leading bits in common with our id; the last one holds all from its number on.
    buckets: Vec<Bucket>,
    /// Where nodes changed their names, and when.
    fickle: VecDeque<(Time, SocketAddr)>,
}

/// What became of a node that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It stands in the table.
    Known,
    /// It came in.
    New,
    /// It waits for a place.
    Spare,
    /// Another node has its address, its network has enough places, or it says that it is us.
    Refused,
}

impl Table {
    /// An empty table around our own id.
    pub fn new(own: Id) -> Self {
        Self { own, buckets: alloc::vec![Bucket::default()], fickle: VecDeque::new() }
    }

    /// Our own id.
    pub fn own(&self) -> Id {
        self.own
    }

    /// Nodes that it holds and that are not bad.
    pub fn len(&self) -> usize {
        self.iter().filter(|entry| !entry.is_bad()).count()
    }

    /// Whether it holds none that is not bad.
    pub fn is_empty(&self) -> bool {
        self.iter().all(Entry::is_bad)
    }

    /// Every node, bad ones as well.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flat_map(|bucket| &bucket.nodes)
    }

    /// Whether it holds eight nodes at least that may have their ids (BEP 42) and are not bad.
    pub fn has_fitting(&self) -> bool {
        self.iter().filter(|entry| entry.fits && !entry.is_bad()).take(K).count() == K
    }

    /// Leaves these alone, of those that wait for a place as well.
    pub fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        for bucket in &mut self.buckets {
            bucket.nodes.retain(&keep);
            bucket.spare.retain(&keep);
        }
    }

    fn size(&self, bucket: usize) -> usize {
        FIRST_SIZES.get(bucket).copied().unwrap_or(K)
    }

    fn bucket_of(&self, id: &Id) -> usize {
        self.own.common_prefix(id).min(self.buckets.len() - 1)
    }

    /// A query of a node came.
    pub fn heard(&mut self, now: Time, id: &Id, address: SocketAddr) {
        let number = self.bucket_of(id);
        let nodes = &mut self.buckets[number].nodes;
        if let Some(entry) = nodes.iter_mut().find(|entry| entry.id == *id && entry.address == address) {
            entry.heard = Some(now);
        }
    }

    /// A node answered a query of ours. `met`: it had asked us something just before, so that a router in front of it
    /// would have let our query pass.
    pub fn answered(&mut self, now: Time, id: Id, address: SocketAddr, met: bool) -> Admission {
        if id == self.own {
            return Admission::Refused;
        }
        loop {
            let number = self.bucket_of(&id);
            let size = self.size(number);
            let is_last = number + 1 == self.buckets.len();
            let bucket = &mut self.buckets[number];
            if let Some(entry) = bucket.nodes.iter_mut().find(|entry| entry.id == id) {
                if entry.address != address {
                    // Whoever came first keeps the name while it answers.
                    if !entry.is_bad() {
                        return Admission::Refused;
                    }
                    entry.address = address;
                    entry.fits = id.fits(address.ip());
                }
                entry.answered(now);
                bucket.touched = now;
                return Admission::Known;
            }
            if self.has_address(address.ip()) {
                if self.rename(address) {
                    self.note_fickle(now, address);
                }
                self.forget_bad(address.ip());
                return Admission::Refused;
            }
            let fits = id.fits(address.ip());
            if !self.buckets[number].has_room_in_network(address.ip())
                || (!fits && self.is_fickle(now, address))
            {
                return Admission::Refused;
            }
            let bucket = &mut self.buckets[number];
            let heard = met.then_some(now);
            let entry =
                Entry { id, address, answered: now, asked: now, failures: 0, fits, heard, reachable: !met };
            if bucket.nodes.len() < size {
                bucket.nodes.push(entry);
                bucket.touched = now;
                return Admission::New;
            }
            if let Some(bad) = bucket.nodes.iter_mut().find(|entry| entry.is_bad()) {
                *bad = entry;
                bucket.touched = now;
                return Admission::New;
            }
            if is_last && self.buckets.len() < Id::BITS {
                self.split();
                continue;
            }
            let bucket = &mut self.buckets[number];
            let unfit = bucket.nodes.iter_mut().rfind(|entry| !entry.fits);
            if let Some(unfit) = unfit
                && entry.fits
            {
                *unfit = entry;
                bucket.touched = now;
                return Admission::New;
            }
            let bucket = &mut self.buckets[number];
            bucket.spare.retain(|spare| spare.id != id && spare.address != address);
            if bucket.spare.len() >= K {
                bucket.spare.remove(0);
            }
            bucket.spare.push(entry);
            return Admission::Spare;
        }
    }

    /// A node at this address has another name than it had: the entry goes, as the name is not to be relied upon. Whether
    /// there was one.
    fn rename(&mut self, address: SocketAddr) -> bool {
        let before = self.iter().count();
        for bucket in &mut self.buckets {
            bucket.nodes.retain(|entry| entry.address != address);
        }
        self.iter().count() < before
    }

    fn note_fickle(&mut self, now: Time, address: SocketAddr) {
        if self.fickle.len() >= MAX_FICKLE {
            self.fickle.pop_front();
        }
        self.fickle.push_back((now, address));
    }

    /// Whether the node at this address had two names lately: it may have one for everything that is looked for.
    fn is_fickle(&self, now: Time, address: SocketAddr) -> bool {
        self.fickle.iter().any(|(at, fickle)| *fickle == address && now.since(*at) < FICKLE)
    }

    /// A host that comes back elsewhere or under another name finds a place the next time.
    fn forget_bad(&mut self, ip: IpAddr) {
        for bucket in &mut self.buckets {
            bucket.nodes.retain(|entry| entry.address.ip() != ip || !entry.is_bad());
        }
    }

    fn has_address(&self, ip: IpAddr) -> bool {
        // On one machine or behind one router many nodes may share an address.
        !is_local(ip) && self.iter().any(|entry| entry.address.ip() == ip)
    }

    /// Divides the last bucket into those that differ from us in its bit and those that do not.
    fn split(&mut self) {
        let prefix = self.buckets.len() - 1;
        let size = self.size(prefix);
        let Some(last) = self.buckets.pop() else { return };
        let touched = last.touched;
        let (mut nearer, mut farther) =
            (Bucket { touched, ..Bucket::default() }, Bucket { touched, ..Bucket::default() });
        for entry in last.nodes {
            let to = if self.own.common_prefix(&entry.id) > prefix { &mut nearer } else { &mut farther };
            to.nodes.push(entry);
        }
        for entry in last.spare {
            let to = if self.own.common_prefix(&entry.id) > prefix { &mut nearer } else { &mut farther };
            let has_room = to.nodes.len() < size && to.has_room_in_network(entry.address.ip());
            if has_room { to.nodes.push(entry) } else { to.spare.push(entry) }
        }
        self.buckets.push(farther);
        self.buckets.push(nearer);
    }

    /// A node left a query unanswered. Once it is bad, one that waits takes its place.
    pub fn failed(&mut self, id: &Id, address: SocketAddr) {
        let number = self.bucket_of(id);
        let bucket = &mut self.buckets[number];
        let Some(at) = bucket.nodes.iter().position(|entry| entry.id == *id && entry.address == address)
        else {
            bucket.spare.retain(|entry| entry.address != address);
            return;
        };
        let entry = &mut bucket.nodes[at];
        entry.failures = entry.failures.saturating_add(1);
        if entry.is_bad() && !bucket.spare.is_empty() {
            self.promote(number, at);
        }
    }

    /// Puts the latest node that waits, and that may come in, into a place.
    fn promote(&mut self, number: usize, at: usize) {
        while let Some(spare) = self.buckets[number].spare.pop() {
            let ip = spare.address.ip();
            if self.buckets[number].has_room_in_network(ip) && !self.has_address(ip) {
                self.buckets[number].nodes[at] = spare;
                return;
            }
        }
    }

    /// Whether this node, at this address, stands in the table and has answered.
    pub fn knows(&self, id: &Id, address: SocketAddr) -> bool {
        self.buckets[self.bucket_of(id)].nodes.iter().any(|entry| entry.id == *id && entry.address == address)
    }

    /// Whether a node of this name could come in, so that it is worth a ping.
    pub fn has_room_for(&self, id: &Id) -> bool {
        let number = self.bucket_of(id);
        let bucket = &self.buckets[number];
        *id != self.own
            && (bucket.nodes.len() < self.size(number)
                || bucket.nodes.iter().any(|entry| entry.is_bad() || !entry.fits)
                || number + 1 == self.buckets.len())
    }

    /// The `count` nodes nearest to `target`, the nearest first; bad ones are left out.
    pub fn nearest(&self, target: &Id, count: usize) -> Vec<Entry> {
        self.near(target, count).into_iter().copied().collect()
    }

    fn near<'a>(&'a self, target: &Id, count: usize) -> Vec<&'a Entry> {
        let first = self.bucket_of(target);
        let mut found: Vec<&Entry> = Vec::with_capacity(FIRST_SIZES[0]);
        let mut take = |bucket: &'a Bucket| {
            let good = bucket.nodes.iter().filter(|entry| !entry.is_bad());
            found.extend(good);
            found.len() >= count
        };
        // What has more bits in common with the target than we have stands in its bucket; next come the buckets
        // nearer to us, which all lie at one distance from it, and then those farther, one after the other.
        let mut enough = take(&self.buckets[first]);
        if !enough {
            for bucket in &self.buckets[first + 1..] {
                enough = take(bucket);
            }
            for bucket in self.buckets[..first].iter().rev() {
                if enough {
                    break;
                }
                enough = take(bucket);
            }
        }
        if found.len() > count {
            found.select_nth_unstable_by_key(count, |entry| entry.id.distance(target));
            found.truncate(count);
        }
        found.sort_unstable_by_key(|entry| entry.id.distance(target));
        found
    }

    /// Nodes near `target` to name to an asker: those that others reach come first. At most half of them may not have
    /// their ids (BEP 42), as far as there are others; nobody from afar hears of nodes in our own network.
    pub fn named(&self, target: &Id, count: usize, asker: IpAddr) -> Vec<&Entry> {
        let near = self.near(target, 3 * count);
        let is_near = is_local(asker);
        let near = || near.iter().copied().filter(|entry| is_near || !is_local(entry.address.ip()));
        let fitting = near().filter(|entry| entry.reachable && entry.fits).count();
        let mut unfit = (count / 2).max(count.saturating_sub(fitting));
        let mut named = Vec::with_capacity(count);
        for entry in near().filter(|entry| entry.reachable) {
            if named.len() == count {
                return named;
            }
            if entry.fits || unfit > 0 {
                named.push(entry);
                unfit = unfit.saturating_sub(usize::from(!entry.fits));
            }
        }
        // Those that others may not reach come last.
        let left = count - named.len();
        named.extend(near().filter(|entry| !entry.reachable).take(left));
        named
    }

    /// Where to begin a walk of our own: the eight nearest of all, and the sixteen nearest that may have their ids (BEP
    /// 42), so that who takes names near every target does not stand at all of its beginnings. Where there are few, the
    /// nearest bad ones as well, which may have been out of reach for a while.
    pub fn starts(&self, target: &Id) -> Vec<Entry> {
        let mut nearest: Vec<Entry> = self.iter().filter(|entry| !entry.is_bad()).copied().collect();
        nearest.sort_unstable_by_key(|entry| entry.id.distance(target));
        let (mut all, mut fitting) = (0, 0);
        let mut found: Vec<Entry> = Vec::with_capacity(3 * K);
        for entry in nearest {
            if all < K || (entry.fits && fitting < 2 * K) {
                found.push(entry);
            }
            all += 1;
            fitting += usize::from(entry.fits);
        }
        if found.len() < K {
            let mut bad: Vec<Entry> = self.iter().filter(|entry| entry.is_bad()).copied().collect();
            bad.sort_unstable_by_key(|entry| entry.id.distance(target));
            found.extend(bad.into_iter().take(2 * K - found.len()));
        }
        found
    }

    /// The node whose turn it is to be pinged: the one that answered longest ago, if that is long ago.
    pub fn stale(&mut self, now: Time) -> Option<Entry> {
        let waited = |entry: &Entry| {
            let patience = match (entry.failures, entry.reachable) {
                (0, true) => FRESH,
                (0, false) => HOLE,
                (..) => Duration::from_secs(30),
            };
            let silent =
                entry.heard.filter(|_| !entry.reachable).is_none_or(|heard| now.since(heard) >= HOLE);
            silent && now.since(entry.answered) >= patience && now.since(entry.asked) >= patience
        };
        let nodes = self.buckets.iter_mut().flat_map(|bucket| &mut bucket.nodes);
        let stale =
            nodes.filter(|entry| waited(entry) && !entry.is_bad()).min_by_key(|entry| entry.answered)?;
        stale.asked = now;
        Some(*stale)
    }

    /// An id in a bucket that nobody was heard from for long, to look up so that it is filled again.
    pub fn stale_bucket(&mut self, now: Time, rng: &mut Rng) -> Option<Id> {
        let last = self.buckets.len() - 1;
        let sizes: Vec<usize> = (0..=last).map(|number| self.size(number)).collect();
        let stale = |(number, bucket): &(usize, &mut Bucket)| {
            let patience = if bucket.nodes.len() < sizes[*number] / 2 { FRESH / 3 } else { FRESH };
            now.since(bucket.touched) >= patience
        };
        let (number, bucket) =
            self.buckets.iter_mut().enumerate().filter(stale).min_by_key(|(_, bucket)| bucket.touched)?;
        bucket.touched = now;
        Some(if number == last { self.own } else { self.own.random_at(number, rng) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: u32) -> SocketAddr {
        // A network for each.
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (number << 8) + 1)), 6881)
    }

    fn filled(own: Id, count: u32) -> Table {
        let mut rng = Rng::with_seed(7);
        let mut table = Table::new(own);
        for number in 0..count {
            table.answered(Time::ZERO, Id::random(&mut rng), address(number), false);
        }
        table
    }

    #[test]
    fn the_table_stays_small_and_knows_its_neighbourhood() {
        let own = Id([0x55; 20]);
        let table = filled(own, 20_000);
        let all = FIRST_SIZES.iter().sum::<usize>() + K * 30;
        assert!(table.len() <= all, "{} nodes", table.len());
        assert!(table.buckets.len() > 8, "{} buckets", table.buckets.len());
        for (number, bucket) in table.buckets.iter().enumerate() {
            assert!(bucket.nodes.len() <= table.size(number));
        }
    }

    #[test]
    fn the_nearest_are_the_nearest_of_all_in_the_table() {
        let table = filled(Id([0x55; 20]), 3_000);
        let mut rng = Rng::with_seed(9);
        for _ in 0..200 {
            let target = Id::random(&mut rng);
            let mut all: Vec<Entry> = table.iter().copied().collect();
            all.sort_by_key(|entry| entry.id.distance(&target));
            all.truncate(K);
            assert_eq!(table.nearest(&target, K), all);
        }
    }

    #[test]
    fn a_node_that_is_silent_gives_its_place_to_one_that_waits() {
        let own = Id([0; 20]);
        let mut table = Table::new(own);
        let far = |number: u8| {
            let mut id = Id([0xff; 20]);
            id.0[19] = number;
            id
        };
        let size = FIRST_SIZES[0];
        for number in 0..=size as u8 {
            table.answered(Time::ZERO, far(number), address(number.into()), false);
        }
        let waiting = far(size as u8);
        assert!(!table.knows(&waiting, address(size as u32)));
        for _ in 0..FAILURES {
            table.failed(&far(0), address(0));
        }
        assert!(table.knows(&waiting, address(size as u32)));
        assert!(!table.knows(&far(0), address(0)));
    }

    #[test]
    fn one_address_has_one_place() {
        let mut table = Table::new(Id([0; 20]));
        assert_eq!(table.answered(Time::ZERO, Id([1; 20]), address(1), false), Admission::New);
        let same_host = SocketAddr::new(address(1).ip(), 1);
        assert_eq!(table.answered(Time::ZERO, Id([2; 20]), same_host, false), Admission::Refused);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_node_that_changes_its_name_loses_its_place() {
        let mut table = Table::new(Id([0; 20]));
        table.answered(Time::ZERO, Id([1; 20]), address(1), false);
        table.answered(Time::ZERO, Id([2; 20]), address(1), false);
        assert!(table.is_empty());
    }

    #[test]
    fn a_network_has_few_places_in_a_bucket() {
        let mut table = Table::new(Id([0; 20]));
        for host in 1..20 {
            let mut id = Id([0xf0; 20]);
            id.0[19] = host;
            let ip = IpAddr::V4(Ipv4Addr::new(11, 0, 0, host));
            table.answered(Time::ZERO, id, SocketAddr::new(ip, 6881), false);
        }
        assert_eq!(table.len(), PER_NETWORK);
    }

    #[test]
    fn we_are_not_in_our_own_table() {
        let mut table = Table::new(Id([3; 20]));
        assert_eq!(table.answered(Time::ZERO, Id([3; 20]), address(1), false), Admission::Refused);
    }

    #[test]
    fn who_waits_takes_no_place_that_it_could_not_have_had() {
        let mut table = Table::new(Id([0; 20]));
        let far = |number: u8| {
            let mut id = Id([0xff; 20]);
            id.0[19] = number;
            id
        };
        let size = FIRST_SIZES[0] as u8;
        for number in 0..size {
            table.answered(Time::ZERO, far(number), address(number.into()), false);
        }
        // Eight of one network wait for places.
        for host in 0..8 {
            let ip = IpAddr::V4(Ipv4Addr::new(12, 0, 0, host));
            let admission = table.answered(Time::ZERO, far(100 + host), SocketAddr::new(ip, 6881), false);
            assert_eq!(admission, Admission::Spare);
        }
        for number in 0..8 {
            for _ in 0..FAILURES {
                table.failed(&far(number), address(number.into()));
            }
        }
        let ours = network(IpAddr::V4(Ipv4Addr::new(12, 0, 0, 0)));
        let of_network = table.iter().filter(|entry| network(entry.address.ip()) == ours);
        assert_eq!(of_network.count(), PER_NETWORK);
    }

    #[test]
    fn a_node_that_may_have_its_id_comes_before_one_that_may_not() {
        let mut rng = Rng::with_seed(3);
        let mut table = Table::new(Id([0; 20]));
        let size = FIRST_SIZES[0];
        for number in 0..size as u8 {
            let mut id = Id([0xff; 20]);
            id.0[19] = number;
            table.answered(Time::ZERO, id, address(number.into()), false);
        }
        let mut fitting = (1_000..).map(address).map(|at| (Id::for_address(at.ip(), &mut rng), at));
        let (id, at) = fitting.find(|(id, _)| id.0[0] >= 0x80).unwrap();
        assert_eq!(table.answered(Time::ZERO, id, at, false), Admission::New);
        assert_eq!(table.len(), size);
    }

    #[test]
    fn a_walk_begins_beside_those_who_take_names_near_everything() {
        let mut rng = Rng::with_seed(9);
        let target = Id([0x80; 20]);
        let mut table = Table::new(Id([0; 20]));
        for number in 0..3 * K as u8 {
            let mut id = target;
            id.0[19] = number;
            table.answered(Time::ZERO, id, address(number.into()), false);
        }
        for number in 100..140 {
            let ip = address(number).ip();
            table.answered(Time::ZERO, Id::for_address(ip, &mut rng), SocketAddr::new(ip, 1), false);
        }
        let starts = table.starts(&target);
        assert_eq!(starts.iter().filter(|entry| !entry.fits).count(), K);
        assert_eq!(starts.iter().filter(|entry| entry.fits).count(), 2 * K);
    }

    #[test]
    fn who_has_two_names_finds_no_place_for_a_while() {
        let mut table = Table::new(Id([0; 20]));
        let at = address(1);
        let answered = |table: &mut Table, second: u64, name: u8| {
            table.answered(Time::from_secs(second), Id([name; 20]), at, false)
        };
        assert_eq!(answered(&mut table, 0, 1), Admission::New);
        assert_eq!(answered(&mut table, 1, 2), Admission::Refused);
        assert_eq!(answered(&mut table, 2, 3), Admission::Refused);
        assert!(table.is_empty());
        assert_eq!(answered(&mut table, 2 + FICKLE.as_secs(), 3), Admission::New);
        for number in 10..2_000 {
            table.answered(Time::from_secs(5_000), Id([1; 20]), address(number), false);
            table.answered(Time::from_secs(5_000), Id([2; 20]), address(number), false);
        }
        assert!(table.fickle.len() <= MAX_FICKLE);
    }

    #[test]
    fn nodes_that_were_out_of_reach_are_where_a_walk_begins_when_nobody_else_is_left() {
        let mut table = filled(Id([0; 20]), 20);
        let all: Vec<Entry> = table.iter().copied().collect();
        for entry in &all {
            for _ in 0..FAILURES {
                table.failed(&entry.id, entry.address);
            }
        }
        assert!(table.is_empty() && table.nearest(&Id([7; 20]), K).is_empty());
        assert_eq!(table.starts(&Id([7; 20])).len(), 2 * K);
    }

    #[test]
    fn who_asks_hears_of_nodes_that_may_have_their_ids_and_of_none_in_our_network() {
        let mut rng = Rng::with_seed(5);
        let target = Id([0x80; 20]);
        let mut table = Table::new(Id([0; 20]));
        for number in 0..12 {
            let mut id = target;
            id.0[19] = number;
            table.answered(Time::ZERO, id, address(number.into()), false);
        }
        for number in 100..120 {
            let ip = address(number).ip();
            table.answered(Time::ZERO, Id::for_address(ip, &mut rng), SocketAddr::new(ip, 1), false);
        }
        let neighbour: SocketAddr = "192.168.0.7:1".parse().unwrap();
        table.answered(Time::ZERO, target, neighbour, false);
        let stranger = "203.0.113.1".parse().unwrap();
        let named = table.named(&target, K, stranger);
        assert_eq!(named.iter().filter(|entry| entry.fits).count(), K / 2);
        assert!(named.iter().all(|entry| entry.address != neighbour) && named.len() == K);
        assert_eq!(table.named(&target, K, neighbour.ip())[0].address, neighbour);
    }

    #[test]
    fn who_answers_only_while_its_router_lets_us_through_is_named_last_and_goes() {
        let mut table = Table::new(Id([0; 20]));
        let (near, far) = (Id([0x80; 20]), Id([0xf0; 20]));
        let asker = "203.0.113.1".parse().unwrap();
        table.answered(Time::ZERO, near, address(1), true);
        table.answered(Time::ZERO, far, address(2), false);
        let named = |table: &Table| table.named(&near, K, asker).first().map(|entry| entry.id);
        assert_eq!(named(&table), Some(far));
        // Its own queries keep the way to it open: only later does an answer tell something.
        table.heard(Time::from_secs(100), &near, address(1));
        assert_eq!(table.stale(Time::from_secs(200)), None);
        assert_eq!(table.stale(Time::from_secs(281)).map(|entry| entry.id), Some(near));
        table.answered(Time::from_secs(281), near, address(1), false);
        assert_eq!(named(&table), Some(near));
    }
}

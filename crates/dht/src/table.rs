//! The routing table: nodes that have answered us, many near our own id and few far from it (BEP 5, "Routing Table").
//!
//! A bucket holds the nodes that have a certain number of leading bits in common with our id. Only nodes that answered a
//! query of ours come in, so that nobody fills the table by sending. An address stands in it once, and a bucket takes
//! two nodes of one network at most: who wants to fill it needs many networks. Where a bucket is full, a node that may
//! have its id (BEP 42) takes the place of one that may not. Who answers under one name here and another there, so as to be
//! near everything, is kept out.

mod bucket;
mod fickle;
#[cfg(test)]
mod tests;

pub use bucket::Entry;

use crate::Id;
use crate::id::is_local;
use alloc::vec::Vec;
use bucket::{Bucket, HOLE};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use fastrand::Rng;
use fickle::Fickle;
use quelea_time::Time;

/// Nodes of a bucket (BEP 5, "K").
pub const K: usize = 8;
/// A node that has answered within this time is good (BEP 5).
pub const FRESH: Duration = Duration::from_secs(15 * 60);
/// The first buckets, which hold the most of all nodes, are larger, so that look-ups begin nearer to their goal.
const FIRST_SIZES: [usize; 5] = [64, 32, 32, 16, 16];

/// The routing table of one node.
#[derive(Debug)]
pub struct Table {
    own: Id,
    /// By the number of leading bits in common with our id; the last one holds all from its number on.
    buckets: Vec<Bucket>,
    fickle: Fickle,
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
        Self { own, buckets: alloc::vec![Bucket::default()], fickle: Fickle::default() }
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
                    self.fickle.note(now, address);
                }
                self.forget_bad(address.ip());
                return Admission::Refused;
            }
            let fits = id.fits(address.ip());
            if !self.buckets[number].has_room_in_network(address.ip())
                || (!fits && self.fickle.has(now, address))
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
        self.near(target, count, |_| true).into_iter().copied().collect()
    }

    /// The nearest of those that are not bad and that are `wanted`.
    fn near<'a>(
        &'a self,
        target: &Id,
        count: usize,
        mut wanted: impl FnMut(&Entry) -> bool,
    ) -> Vec<&'a Entry> {
        let first = self.bucket_of(target);
        let mut found: Vec<(u64, &Entry)> = Vec::with_capacity(count);
        let mut take = |bucket: &'a Bucket| {
            for entry in bucket.nodes.iter().filter(|entry| !entry.is_bad() && wanted(entry)) {
                let bits = entry.id.first_bits(target);
                let order = |(others, other): &(u64, &Entry)| {
                    let rest = || other.id.distance(target).cmp(&entry.id.distance(target));
                    others.cmp(&bits).then_with(rest)
                };
                if found.len() == count && found.pop_if(|farthest| order(farthest).is_gt()).is_none() {
                    continue;
                }
                let at = found.partition_point(|nearer| order(nearer).is_lt());
                found.insert(at, (bits, entry));
            }
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
        found.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Nodes near `target` to name to an asker: those that others reach come first. At most half of them may not have
    /// their ids (BEP 42), as far as there are others; nobody from afar hears of nodes in our own network.
    pub fn named(&self, target: &Id, count: usize, asker: IpAddr) -> Vec<&Entry> {
        let is_near = is_local(asker);
        let may_name = |entry: &Entry| is_near || !is_local(entry.address.ip());
        // Mostly the nearest that others reach have few others among them, and will do.
        let mut unreachable = 0;
        let nearest = self.near(target, count, |entry| {
            unreachable += usize::from(!entry.reachable);
            entry.reachable
        });
        let unfit = nearest.iter().filter(|entry| !entry.fits).count();
        let will_do = unreachable <= 2 * count && unfit <= count / 2;
        if nearest.len() == count && will_do && nearest.iter().all(|entry| may_name(entry)) {
            return nearest;
        }
        let near = self.near(target, 3 * count, |_| true);
        let near = || near.iter().copied().filter(|entry| may_name(entry));
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
